"""An export over a real connection: who is slow, or goes away, keeps nothing in the database."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from sqlalchemy import text

from admin.config import AdminSettings
from ledger import reports, tenancy
from ledger.database import Database
from ledger.posting import post
from ledger.terms import Terms
from tests.integration.admin.planes import ServedPlane, served_plane
from tests.records import a_record


class Pages:
    """In place of `reports.usage_page`: the first page again and again, so that no client takes it all.
    `stands_at`: the page at which it stands still in its session.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, stands_at: int = 0) -> None:
        self.count = 0
        self.stands_at = stands_at
        self.standing, self.gone = asyncio.Event(), asyncio.Event()
        self._page = reports.usage_page
        monkeypatch.setattr(reports, "usage_page", self)

    async def __call__(self, session: Any, wanted: Any, after: Any = None) -> Any:
        self.count += 1
        found = await self._page(session, wanted)
        if self.count == self.stands_at:
            self.standing.set()
            try:
                await asyncio.Event().wait()
            finally:
                self.gone.set()
        return found

    async def stall(self) -> None:
        """Returns when no page is read any more."""
        before = 0
        while self.count < 2 or before < self.count:
            before = self.count
            await asyncio.sleep(0.1)


@pytest.fixture
async def plane(database_url: str, tmp_path: Path) -> AsyncIterator[ServedPlane]:
    settings = AdminSettings(database_url=database_url, data_dir=tmp_path)
    async with served_plane(settings) as served:
        async with served.database.write() as session:
            records = [a_record(tenant_id=served.tenant_id, project_id="proj_x") for _ in range(500)]
            await post(await session.connection(), records, Terms(), 1)
        yield served


@asynccontextmanager
async def a_reader(plane: ServedPlane, query: str) -> AsyncIterator[asyncio.StreamWriter]:
    """A client that has read the head of an export and reads no more; it goes away without a word."""
    where = urlsplit(str(plane.client.base_url))
    reader, writer = await asyncio.open_connection(where.hostname, where.port, limit=1024)
    try:
        writer.write(
            f"GET /admin/v1/usage/export?month=2026-10&{query} HTTP/1.1\r\nHost: metergate\r\n"
            f"Authorization: Bearer {plane.operator_key}\r\n\r\n".encode()
        )
        head = await reader.readuntil(b"\r\n")
        assert head == b"HTTP/1.1 200 OK\r\n"
        yield writer
    finally:
        writer.transport.abort()


async def in_transactions(database: Database) -> int:
    """How many connections keep PostgreSQL from cleaning up, or SQLite from emptying its write-ahead log."""
    async with database.write() as session:
        await tenancy.create_tenant(session, "Somebody else", 1)
    if database.is_sqlite:
        path = str(database.url.database)
        connection = sqlite3.connect(path, timeout=0)
        try:
            return int(connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0])
        finally:
            connection.close()
    async with database.read() as session:
        others = text(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
            " AND (xact_start IS NOT NULL OR backend_xmin IS NOT NULL)"
        )
        return int((await session.execute(others)).scalar_one())


@pytest.mark.parametrize("format_", ["csv", "jsonl"])
async def test_a_slow_client_holds_no_transaction(
    plane: ServedPlane, monkeypatch: pytest.MonkeyPatch, format_: str
) -> None:
    """Guards against an export that nobody reads on, and that keeps PostgreSQL from cleaning up, or SQLite's
    write-ahead log growing, until somebody ends it; and against one that is read into memory meanwhile.
    """
    pages = Pages(monkeypatch)
    async with asyncio.timeout(60), a_reader(plane, f"format={format_}"):
        await pages.stall()
        assert 2 <= pages.count < 100
        while await in_transactions(plane.database):
            await asyncio.sleep(0.05)


async def test_who_goes_away_between_pages_is_read_for_no_more(
    plane: ServedPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards against an export that goes on to its end for nobody: an hour of reading, each time."""
    pages = Pages(monkeypatch)
    async with asyncio.timeout(60), a_reader(plane, "format=csv") as writer:
        await pages.stall()
        writer.transport.abort()
        while exports():  # without an end there would be pages for ever
            await asyncio.sleep(0.01)
        assert pages.count < 100


async def test_who_goes_away_within_a_page_frees_its_session_at_once(
    plane: ServedPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards against sessions of who is gone, until the control plane has no more for the others."""
    pages = Pages(monkeypatch, stands_at=2)
    async with asyncio.timeout(60), a_reader(plane, "format=csv") as writer:
        await pages.standing.wait()
        assert await in_transactions(plane.database)
        writer.transport.abort()
        await pages.gone.wait()
        while await in_transactions(plane.database):
            await asyncio.sleep(0.01)


def exports() -> list[asyncio.Task[Any]]:
    """Requests that are still being answered."""
    return [task for task in asyncio.all_tasks() if "run_asgi" in repr(task.get_coro())]
