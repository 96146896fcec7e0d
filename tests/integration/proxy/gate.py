"""A data plane for tests: real workers and a real poster, started as the supervisor does.

A `Gate` owns a data folder with a migrated ledger, one tenant, project and key, the processes, and the words
they say. When it closes, every process must have ended in peace, and nothing that was said in a call, and no
key, may be found in anything it wrote: each prompt sent through it holds CANARY.
"""

import asyncio
import contextlib
import json
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx

from race.plane import Plane
from race.processes import PATIENCE_S, Process, now_us, wait_for
from tests.integration.proxy.wire import Wire

__all__ = ["PATIENCE_S", "Process", "now_us", "wait_for"]  # beside what is made here

CANARY = "kestrel-over-the-quarry"


class Gate(Plane):
    """A running data plane. `data` is its data folder; the migrated ledger is in it, or at `database_url`."""

    def __init__(self, data: Path, engines: list[str], *, workers: int = 1, **settings: Any) -> None:
        super().__init__(data, engines, workers=workers, **settings)
        self.answers: list[str] = []
        """What engines said; kept to look for it where it must not be."""
        self.stop_listening()
        self.client = self.new_client(self.secret)

    @property
    def worker(self) -> Process:
        return self.workers[0]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

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
        # Without certificates, which take long to load and are of no use on plain HTTP.
        return httpx.Client(
            base_url=self.url, headers=headers, timeout=PATIENCE_S, trust_env=False, verify=False
        )

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
        statuses = self.stop()
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
        running.kill()
        raise
    running.close()
