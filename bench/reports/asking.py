"""A control plane, asked for usage and costs over HTTP: how long pages take, and what they add up to.

Must not know what is in the book.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import msgspec

from ledger import admin_keys
from ledger.database import Database
from ledger.roles import Role
from ledger.setting import Secret
from ledger.settings import LedgerSettings, pepper

_LIMIT_S = 60.0
_EXACT = msgspec.json.Decoder(float_hook=Decimal)


class Asker:
    """One tenant's key, and where its reports are."""

    def __init__(self, client: httpx.Client) -> None:
        """`client` has the address and the key."""
        self._client = client

    def page(self, product: str, asked: Sequence[tuple[str, str]]) -> tuple[float, bytes]:
        """How long one page takes until its last byte is here, in milliseconds, and the page."""
        began_s = time.perf_counter()
        answer = self._client.get(f"/v1/organization/{product}", params=httpx.QueryParams(tuple(asked)))
        took_ms = (time.perf_counter() - began_s) * 1000
        assert answer.status_code == 200, answer.text
        return took_ms, answer.content

    def walk(self, product: str, asked: Sequence[tuple[str, str]]) -> tuple[list[float], Counter[str]]:
        """How long each page takes, and what all of them add up to: counts, and money by currency."""
        times, sums, more = [], Counter[str](), list(asked)
        while True:
            took_ms, content = self.page(product, more)
            times.append(took_ms)
            page = _EXACT.decode(content)
            for bucket in page["data"]:
                for result in bucket["results"]:
                    sums.update(_counted(result))
            if not page["has_more"]:
                return times, sums
            more = [*asked, ("page", page["next_page"])]


def _counted(result: dict[str, Any]) -> dict[str, int]:
    if "amount" in result:
        return {result["amount"]["currency"]: int(result["amount"]["value"] * 10**12)}
    return {
        name: result[name]
        for name in ("num_model_requests", "input_tokens", "input_cached_tokens", "output_tokens")
        if name in result
    }


async def make_key(url: str, secret_key: Secret, tenant_id: str) -> str:
    """A new admin key that reads a tenant's reports."""
    database = Database(url)
    try:
        async with database.write() as session:
            secret = pepper(LedgerSettings(secret_key=secret_key))
            _, key = await admin_keys.create_admin_key(
                session, secret, "reports", time.time_ns() // 1000, role=Role.BILLING, tenant_id=tenant_id
            )
            return key
    finally:
        await database.close()


@contextmanager
def control_plane(url: str, data: Path, secret_key: Secret) -> Iterator[tuple[str, int]]:
    """The address of a control plane on this ledger, and the process that it is."""
    environ = {
        "METERGATE_DATABASE_URL": url,
        "METERGATE_DATA_DIR": str(data),
        "METERGATE_SECRET_KEY": secret_key.get_secret_value(),
    }
    with socket.create_server(("127.0.0.1", 0)) as listener, (data / "plane.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "admin.plane", "--fd", str(listener.fileno()), "--no-worker"],
            env={**os.environ, **environ},
            pass_fds=(listener.fileno(),),
            stdout=log,
            stderr=log,
        )
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        try:
            _await_ready(address, data / "plane.log")
            yield address, process.pid
        finally:
            process.terminate()
            process.wait()


def _await_ready(address: str, log: Path) -> None:
    until_s = time.monotonic() + _LIMIT_S
    while True:
        try:
            if httpx.get(f"{address}/readyz", timeout=_LIMIT_S).status_code == 200:
                return
        except httpx.TransportError:
            pass
        assert time.monotonic() < until_s, log.read_text()
        time.sleep(0.1)
