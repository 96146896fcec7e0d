"""A reload and a stop as clients see them: `metergate up` with one worker, under load."""

import asyncio
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from ledger.database import Database
from ledger.verification.verify import verify

from .conftest import Up
from .rolling import Client, Seen, calling, plainly

PATIENCE_SECONDS = 120

pytestmark = pytest.mark.timeout(400)


def until(found: Callable[[], object], what: str) -> None:
    """Waits for a fact that another process makes true."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not found():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def port_of(up: Up) -> int:
    return httpx.URL(up.first_run["base_url"]).port or 0


def status_of(up: Up, **fields: Any) -> int:
    """How a small call is answered."""
    body = {"model": "simulated", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1, **fields}
    headers = {"Authorization": f"Bearer {up.first_run['api_key']}"}
    url = f"{up.first_run['base_url']}/chat/completions"
    return httpx.post(url, json=body, headers=headers, timeout=60).status_code


@contextmanager
def a_long_stream(up: Up, seen: Seen) -> Iterator[threading.Thread]:
    """A stream of some seconds that is under way; has ended when the block has."""
    client = Client(plainly(port_of(up)), up.first_run["api_key"], seen, may_retry=False)
    stream, before = threading.Thread(target=client.call, args=(0, 500)), seen.begun
    stream.start()
    until(lambda: seen.begun > before, "the stream's first byte")
    yield stream
    stream.join()
    client.close()


def said(up: Up, *words: str) -> bool:
    """Whether a line on stderr has all of these words."""
    return any(all(word in line for word in words) for line in up.complained)


def refuses(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except ConnectionRefusedError:
        return True
    return False


async def look(up: Up) -> tuple[list[str], bool]:
    """The ids of all calls in the ledger, and whether it agrees with itself."""
    database = Database(f"sqlite:///{up.folder / 'data' / 'metergate.db'}")
    try:
        async with database.read() as session:
            ids = list((await session.execute(text("SELECT request_id FROM usage"))).scalars())
            return ids, (await verify(session, time.time_ns() // 1000)).is_clean
    finally:
        await database.close()


def test_a_reload_and_a_stop_under_load_lose_nothing(start: Callable[..., Up], tmp_path: Path) -> None:
    """Guards against a connection refused, a stream cut, a row lost or doubled while a worker is renewed;
    against settings that only a restart reads; and against a supervisor that holds the sockets of stopping
    workers, so that who connects waits for nobody where a load balancer could have gone elsewhere.
    """
    toml = tmp_path / "metergate.toml"
    toml.write_text("max_choices = 1\n")
    up = start(tmp_path)
    assert up.said[-1] == "ready", up.complained
    assert status_of(up, n=2) == 400
    streams = Seen()
    toml.write_text("secret_key = 'quite another secret'")  # a worker that does not start
    up.process.send_signal(signal.SIGUSR2)
    until(lambda: said(up, "data plane worker 0: the new one did not start"), "a reload that fails")
    with (
        a_long_stream(up, streams),
        calling(plainly(port_of(up)), up.first_run["api_key"], 4, may_retry=True) as seen,
    ):
        until(lambda: len(seen.request_ids) >= 20, "calls of the old worker")
        toml.write_text("max_choices = 2\n")
        up.process.send_signal(signal.SIGUSR2)
        until(lambda: "metergate: reloaded" in up.complained, "a reload")
        answered = len(seen.request_ids)
        until(lambda: len(seen.request_ids) >= answered + 20, "calls of the new worker")
    assert (seen.errors, streams.errors) == ([], []), up.complained
    assert (status_of(up, n=2), status_of(up, n=3)) == (200, 400)

    for line, reason in (("host = '0.0.0.0'", "METERGATE_HOST changed"), ("max_choices = 0", "MAX_CHOICES:")):
        toml.write_text(line)
        up.process.send_signal(signal.SIGUSR2)
        until(lambda: said(up, "not reloaded", reason), "a refusal")  # noqa: B023
    with a_long_stream(up, streams) as stream:
        up.process.send_signal(signal.SIGTERM)
        until(lambda: refuses(port_of(up)), "refusal")
        assert stream.is_alive(), ("the stream has to outlast this", streams.errors, up.complained)
    assert streams.errors == [] and up.end(0) == 0
    ids, is_right = asyncio.run(look(up))
    assert len(ids) == len(set(ids)) == len(seen.request_ids) + len(streams.request_ids) + 1
    assert {*seen.request_ids, *streams.request_ids} < set(ids) and is_right
    journals = {path.name for path in (tmp_path / "data" / "journal").glob("worker-*")}
    assert journals == {"worker-0", "worker-1"}
