"""Rotation and revocation in the middle of load, on two workers and both databases."""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from ledger import key_secrets, keys, tenancy
from ledger.secret_key import pepper
from ledger.settings import LedgerSettings, load
from tests.engines import Engine
from tests.integration.proxy.conftest import NewGate
from tests.integration.proxy.gate import PATIENCE_S, Gate, chat_body, now_us, wait_for

CHAT = "/v1/chat/completions"
CONNECTIONS = 6  # of each client: the kernel spreads them over the workers
GRACE_US = 3_000_000
FOLLOWED_US = 1_000_000


@dataclass
class Load:
    """Calls with one secret, one after the other on each of some connections; every third is a stream."""

    gate: Gate
    secret: str
    calls: list[tuple[int, int, str]] = field(default_factory=list)
    """(when it was sent, by the ledger's clock, its status, its error's message)"""
    stopping: bool = False

    def run(self) -> None:
        asyncio.run(self._run())

    async def _run(self) -> None:
        headers = {"authorization": f"Bearer {self.secret}"}
        async with asyncio.TaskGroup() as group:
            for _ in range(CONNECTIONS):
                client = httpx.AsyncClient(
                    base_url=self.gate.url, headers=headers, timeout=PATIENCE_S, trust_env=False
                )
                group.create_task(self._go_on(client))

    async def _go_on(self, client: httpx.AsyncClient) -> None:
        async with client:
            while not self.stopping:
                sent = now_us()
                fields: dict[str, Any] = {"max_tokens": 20, "ignore_eos": True}
                answer = await client.post(CHAT, json=chat_body(stream=len(self.calls) % 3 == 0, **fields))
                if answer.status_code == 200:
                    assert "[DONE]" in answer.text or answer.json()["usage"]["completion_tokens"] == 20
                self.calls.append((sent, answer.status_code, answer.text if answer.is_error else ""))

    def has(self, look: Callable[[tuple[int, int, str]], bool], calls: int = 5 * CONNECTIONS) -> bool:
        """Whether so many of the last calls look so."""
        return len(self.calls) >= calls and all(map(look, self.calls[-calls:]))


@contextmanager
def loads() -> Iterator[Callable[[Load], Load]]:
    """Starts loads, each in a thread of its own; ends them all."""
    started: list[Load] = []
    with ThreadPoolExecutor() as pool:
        running: list[Future[None]] = []

        def start(load: Load) -> Load:
            started.append(load)
            running.append(pool.submit(load.run))
            return load

        try:
            yield start
        finally:
            for load in started:
                load.stopping = True
        for one in running:
            one.result()


def until(load: Load, status: int) -> None:
    """Waits until all the last calls have this status: of every connection, and so of both workers."""
    wait_for(lambda: load.has(lambda call: call[1] == status) or None, f"status {status}")


def test_a_rotation_in_mid_load_fails_no_call(new_gate_on_both: NewGate, shared_engine: Engine) -> None:
    """Guards against a rotation that refuses a client before its time, a grace that one of the workers does
    not end, and a revocation that one of the secrets outlives.

    Times are those of the calls' own beginnings, so that a slow machine makes nothing fail.
    """
    gate = new_gate_on_both(shared_engine.url, workers=2)
    key_id, old_secret = gate.new_key()
    secret_key = pepper(load(LedgerSettings, data_dir=gate.data, database_url=gate.database_url))
    with loads() as start:
        old = start(Load(gate, old_secret))
        until(old, 200)
        began = now_us()
        _, new_secret = gate.change(
            lambda session: key_secrets.rotate(session, secret_key, key_id, GRACE_US, began)
        )
        gate.secrets.append(new_secret)
        new = start(Load(gate, new_secret))
        until(old, 401)
        assert {status for sent, status, _ in old.calls if sent < began + GRACE_US - FOLLOWED_US} == {200}
        after = [(status, text) for sent, status, text in old.calls if sent >= began + GRACE_US]
        assert {status for status, _ in after} == {401} and all("replaced" in text for _, text in after)
        until(new, 200)
        assert {status for _, status, _ in new.calls} == {200}

        revoking = now_us()
        gate.change(lambda session: tenancy.revoke_api_key(session, key_id, revoking))
        revoked = now_us()
        until(new, 401)
        assert {status for sent, status, _ in new.calls if sent < revoking} == {200}
        assert {status for sent, status, _ in new.calls if sent > revoked + FOLLOWED_US} <= {401}

    served = sum(status == 200 for one in (old, new) for _, status, _ in one.calls)
    assert gate.totals(served)["calls"] == served, "each is in the book, under the one key"
    assert gate.sql("SELECT DISTINCT api_key_id FROM usage") == [{"api_key_id": key_id}]
    gate.stop()
    rows = gate.sql(f"SELECT * FROM api_key_secret WHERE api_key_id = '{key_id}' ORDER BY id")
    for row, one in zip(rows, (old, new), strict=True):
        last = max(sent for sent, status, _ in one.calls if status == 200)
        assert row["redacted"] == keys.redact(one.secret)
        assert row["last_used_us"] >= last
    assert rows[0]["last_used_us"] < began + GRACE_US
