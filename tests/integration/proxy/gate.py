"""A data plane for tests: real workers and a real poster, started as the supervisor does.

A `Gate` owns a data folder with a migrated ledger, one tenant, project and key, the processes, and the words
they say. When it closes, every process must have ended in peace, and nothing that was said in a call, and no
key, may be found in anything it wrote: each prompt sent through it holds CANARY.
"""

import asyncio
import contextlib
import json
import os
import select
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
import httpx
from sqlalchemy.ext.asyncio import AsyncSession

from ledger import tenancy
from ledger.database import Database
from ledger.secret_key import pepper
from ledger.settings import LedgerSettings
from tests.integration.proxy.wire import Wire

ROOT = Path(__file__).parents[3]
PATIENCE_S = 30.0
CANARY = "kestrel-over-the-quarry"

T = TypeVar("T")


def now_us() -> int:
    return time.time_ns() // 1000


def wait_for(look: Callable[[], T | None], what: str) -> T:
    """Looks until there is something; fails after PATIENCE_S."""
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        found = look()
        if found is not None:
            return found
        time.sleep(0.01)
    raise AssertionError(f"waited {PATIENCE_S} s in vain for {what}")


class Process:
    """One process of the data plane; `ready` waits until it answers."""

    def __init__(
        self, module: str, *arguments: str, fd: int | None, env: dict[str, str], words: Path
    ) -> None:
        ready, ready_child = os.pipe()
        with words.open("ab") as said:
            self.popen = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                pass_fds=(ready_child, *(() if fd is None else (fd,))),
                env={**env, "METERGATE_READY_FD": str(ready_child)},
                stdout=said,
                stderr=said,
            )
        os.close(ready_child)
        self._ready = ready
        self.words = words

    def ready(self) -> None:
        said = os.read(self._ready, 16) if select.select([self._ready], [], [], PATIENCE_S)[0] else b""
        os.close(self._ready)
        assert said == b"ready\n", f"did not start: {self.words.read_text()}"

    def stop(self) -> int:
        """Asks it to stop, and waits; its exit status."""
        if self.popen.poll() is None:
            self.popen.send_signal(signal.SIGTERM)
        return self.popen.wait(PATIENCE_S)

    def kill(self) -> None:
        if self.popen.poll() is None:
            self.popen.kill()
        self.popen.wait()


class Gate:
    """A running data plane. `data` is its data folder; the migrated ledger is in it, or at `database_url`."""

    def __init__(
        self,
        data: Path,
        engines: list[str],
        *,
        workers: int = 1,
        worker_module: str = "proxy.worker",
        database_url: str = "",
        **settings: str,
    ) -> None:
        self.data = data
        self._worker_module = worker_module
        self.database_url = database_url or f"sqlite:///{data / 'metergate.db'}"
        self.words = data.parent / f"{data.name}.words"
        self._env = {
            **{name: value for name, value in os.environ.items() if not name.startswith("METERGATE_")},
            "PYTHONPATH": str(ROOT),
            "METERGATE_DATA_DIR": str(data),
            "METERGATE_DATABASE_URL": self.database_url,
            "METERGATE_ENGINES": ",".join(engines),
            **{f"METERGATE_{name.upper()}": value for name, value in settings.items()},
        }
        self._pepper = pepper(LedgerSettings(data_dir=data))
        self.secrets: list[str] = []
        self.answers: list[str] = []
        """What engines said; kept to look for it where it must not be."""
        self.tenant_id = self.change(lambda session: tenancy.create_tenant(session, "a tenant", now_us())).id
        self.project_id = self.new_project()
        self.key_id, self.secret = self.new_key()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port: int = self._listener.getsockname()[1]
        self.poster = self._start("ledger.poster")
        self.workers = [self.start_worker(number) for number in range(workers)]
        for process in (self.poster, *self.workers):
            process.ready()
        self._listener.close()
        self.client = self.new_client(self.secret)

    def _start(self, module: str, *arguments: str, fd: int | None = None) -> Process:
        return Process(module, *arguments, fd=fd, env=self._env, words=self.words)

    def start_worker(self, number: int) -> Process:
        fd = self._listener.fileno()
        return self._start(self._worker_module, "--fd", str(fd), "--worker", str(number), fd=fd)

    def kill_worker(self, number: int = 0) -> None:
        """kill -9, and a successor, as the supervisor starts one."""
        self.workers[number].kill()
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=1024)
        self.workers[number] = self.start_worker(number)
        self._listener.close()
        self.workers[number].ready()

    @property
    def worker(self) -> Process:
        return self.workers[0]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    # What an operator does.

    def change(self, work: Callable[[AsyncSession], Awaitable[T]]) -> T:
        """Does something to the ledger, in one transaction."""

        async def do() -> T:
            database = Database(self.database_url)
            try:
                async with database.write() as session:
                    return await work(session)
            finally:
                await database.close()

        return asyncio.run(do())

    def new_project(self) -> str:
        return self.change(lambda session: tenancy.create_project(session, self.tenant_id, "p", now_us())).id

    def new_key(self, project_id: str | None = None, expires_us: int | None = None) -> tuple[str, str]:
        """(id, secret) of a new key."""
        project = project_id or self.project_id
        key, secret = self.change(
            lambda session: tenancy.create_api_key(session, self._pepper, project, "k", now_us(), expires_us)
        )
        self.secrets.append(secret)
        return key.id, secret

    def sql(self, statement: str) -> list[dict[str, Any]]:
        """Asks the ledger's database, past all code of ours."""
        if self.database_url.startswith("postgresql"):
            return asyncio.run(_postgresql(self.database_url, statement))
        with contextlib.closing(sqlite3.connect(self.data / "metergate.db", timeout=10)) as connection:
            connection.row_factory = sqlite3.Row
            rows = [dict(row) for row in connection.execute(statement)]
            connection.commit()
            return rows

    # What a client does.

    def new_client(self, secret: str) -> httpx.Client:
        headers = {"authorization": f"Bearer {secret}"} if secret else {}
        return httpx.Client(base_url=self.url, headers=headers, timeout=PATIENCE_S, trust_env=False)

    def wire(self) -> Wire:
        """A bare connection to a worker."""
        return Wire(self.port)

    def request(
        self, body: Any, path: str = "/v1/chat/completions", *, head: str = "", secret: str = ""
    ) -> bytes:
        """The bytes of one call; `head`: further header lines."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        lines = (
            f"POST {path} HTTP/1.1\r\nhost: gate\r\nauthorization: Bearer {secret or self.secret}\r\n{head}"
        )
        return f"{lines}content-length: {len(content)}\r\n\r\n".encode() + content

    def chat(self, **fields: Any) -> Any:
        """An unstreamed chat call; its JSON answer."""
        response = self.client.post("/v1/chat/completions", json=chat_body(**fields))
        assert response.status_code == 200, response.text
        return response.json()

    # What the book says.

    def row(self, request_id: str) -> dict[str, Any]:
        """The usage row of a call, once it is posted."""

        def look() -> dict[str, Any] | None:
            rows = self.sql(f"SELECT * FROM usage WHERE request_id = '{request_id}'")
            return rows[0] if rows else None

        return wait_for(look, f"the row of {request_id}: {self.words.read_text()}")

    def totals(self, calls: int) -> dict[str, Any]:
        """All usage added up, once so many calls are posted."""
        query = """SELECT count(*) calls, sum(prompt_tokens) prompt_tokens,
            sum(completion_tokens) generated_tokens FROM usage"""
        return wait_for(
            lambda: next((row for row in self.sql(query) if row["calls"] >= calls), None), "all rows"
        )

    # The end.

    def close(self) -> None:
        """Stops everything, and looks at what is left behind."""
        self.client.close()
        try:
            statuses = [process.stop() for process in (*self.workers, self.poster)]
        finally:
            for process in (*self.workers, self.poster):
                process.kill()
        assert set(statuses) <= {0}, (statuses, self.words.read_text())
        self.look_for_leaks()
        words = self.words.read_text()
        assert "Traceback" not in words and "never retrieved" not in words, words

    def look_for_leaks(self) -> None:
        """Nothing of prompts, completions or keys may be in what was written: ledger, journal, logs."""
        said = [text for text in self.answers if len(text) > 20]
        wanted = [word.encode() for word in (CANARY, *self.secrets, *said)]
        for path in (self.words, *self.data.rglob("*")):
            if path.is_file() and path.name != "secret.key":
                written = path.read_bytes()
                for word in wanted:
                    assert word not in written, f"{path} holds {word!r}"
        if self.database_url.startswith("postgresql"):
            tables = "SELECT table_name AS name FROM information_schema.tables WHERE table_schema = 'public'"
            for table in self.sql(tables):
                written = str(self.sql(f'SELECT t::text FROM "{table["name"]}" t')).encode()
                assert not any(word in written for word in wanted), table["name"]


async def _postgresql(url: str, statement: str) -> list[dict[str, Any]]:
    connection = await asyncpg.connect(url)
    try:
        return [dict(row) for row in await connection.fetch(statement)]
    finally:
        await connection.close()


def chat_body(text: str = "Tell me of the hills.", **fields: Any) -> dict[str, Any]:
    """A chat request that holds the canary."""
    return {"model": "simulated", "messages": [{"role": "user", "content": f"{CANARY} {text}"}], **fields}


def stream_body(text: str = "Tell me of the hills.", **fields: Any) -> dict[str, Any]:
    """A streamed chat request that holds the canary and ends only at max_tokens."""
    return chat_body(text, stream=True, **{"max_tokens": 2000, "ignore_eos": True, **fields})


@contextlib.contextmanager
def gate(
    template: Path,
    folder: Path,
    engines: list[str],
    *,
    workers: int = 1,
    database_url: str = "",
    **settings: Any,
) -> Iterator[Gate]:
    """A data plane of its own, on a copy of a migrated ledger, or on the one at `database_url`."""
    data = folder / f"data{len(list(folder.iterdir()))}"
    data.mkdir()
    if not database_url:
        shutil.copy(template, data / "metergate.db")
    running = Gate(data, engines, workers=workers, database_url=database_url, **settings)
    try:
        yield running
    except BaseException:
        for process in (*running.workers, running.poster):
            process.kill()
        raise
    running.close()
