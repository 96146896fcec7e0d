"""Databases that are there and do not serve: slow, locked by somebody else, full."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from sqlalchemy import text

from ledger import keys, patience, tenancy
from ledger.database import Database
from ledger.direct_database import PRAGMAS
from ledger.errors import DatabaseUnavailable
from ledger.journal.segments import worker_folder
from ledger.journal.writer import JournalWriter
from ledger.limits import LimitKind
from ledger.poster import Poster
from ledger.terms import Terms
from proxy import following, leasing
from proxy.auth import Authenticator
from proxy.errors import KeyIncorrect, LedgerUnavailable
from proxy.leasing import LeasesUnknown
from tests.desks import a_bench, a_limit
from tests.integration.ledger.slow_line import slow_line
from tests.records import a_record

PEPPER = b"p" * 32


async def until(look: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not look():
            await asyncio.sleep(0.005)


async def a_key(database: Database) -> tuple[str, bytes]:
    async with database.write() as session:
        tenant = await tenancy.create_tenant(session, "Acme", 1)
        project = await tenancy.create_project(session, tenant.id, "p", 1)
        key, secret = await tenancy.create_api_key(session, PEPPER, project.id, "k", 1)
    return key.id, secret.encode()


@asynccontextmanager
async def posting(database: Database, data_dir: Path) -> AsyncIterator[None]:
    """A poster at work; at the end it has posted all."""
    stopping = asyncio.Event()
    poster = Poster(database, data_dir, Terms())
    work = asyncio.create_task(poster.follow(stopping))
    try:
        yield
    finally:
        stopping.set()
        await work
        poster.close()


async def rows(database: Database) -> int:
    async with database.read() as session:
        return int((await session.execute(text("SELECT count(*) FROM usage"))).scalar_one())


@pytest.mark.postgres
async def test_a_slow_database_is_away_for_calls_and_still_heard(
    postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards against calls that wait as long as the database takes, statement by statement; against keys
    that go on though a slow database has told of their end; and against tasks that pile up behind it.
    """
    for name, seconds in (("FOLLOW_SECONDS", 0.02), ("PATIENCE_SECONDS", 0.2)):
        monkeypatch.setattr(following, name, seconds)
    monkeypatch.setattr(leasing, "PATIENCE_SECONDS", 0.3)
    direct = Database(postgresql_url)
    key_id, secret = await a_key(direct)
    limit = await a_limit(direct, LimitKind.REQUESTS, 1000)
    async with slow_line(postgresql_url) as line:
        through = Database(line.url, pool_size=3)
        authenticator = Authenticator(through, PEPPER, lambda: 1_000)
        async with a_bench(through) as bench:
            await authenticator.start()
            known = await authenticator.find(secret)
            account = bench.account(limit)
            await bench.desk.fetch([(account, 1, 1)])
            tasks = len(asyncio.all_tasks())
            line.delay_s = 0.5
            await until(lambda: not authenticator.ledger.ledger_answers)
            assert authenticator.cached(secret) is known
            for _ in range(50):
                with pytest.raises(LedgerUnavailable):
                    await authenticator.find(keys.mint().encode())
            with pytest.raises(LeasesUnknown):
                await bench.desk.fetch([(account, 500, 500)])
            bench.now_us += 600_000
            for _ in range(50):
                with suppress(LeasesUnknown):
                    await bench.desk.fetch([(account, 500, 500)])
                bench.now_us += 1_000
            assert bench.desk.is_away
            assert len(asyncio.all_tasks()) <= tasks + 10
            async with direct.write() as session:
                await tenancy.revoke_api_key(session, key_id, 2)
            await until(lambda: authenticator.cached(secret) is None)
            line.delay_s = 0
            await until(lambda: authenticator.ledger.ledger_answers)
            with pytest.raises(KeyIncorrect):
                await authenticator.find(secret)
            bench.now_us += 600_000
            await until(lambda: bench.desk._begun_us == 0)
            await bench.tick(2)
            assert not bench.desk.is_away
            assert len(asyncio.all_tasks()) <= tasks + 10
        await authenticator.stop()
        await through.close()
        await until(lambda: line.connections == 0)
    await direct.close()


async def test_sqlite_locked_for_long_by_another_program(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards against a backup tool, or somebody's sqlite3 prompt, that stops the keys or loses a posting."""
    monkeypatch.setattr(patience, "SQLITE_BUSY_S", 0.05)
    monkeypatch.setattr(following, "FOLLOW_SECONDS", 0.02)
    database = Database(sqlite_url)
    _, secret = await a_key(database)
    authenticator = Authenticator(database, PEPPER, lambda: 1_000)
    await authenticator.start()
    other = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    writer = JournalWriter(worker_folder(tmp_path, 0))
    try:
        async with posting(database, tmp_path):
            for _ in range(50):
                writer.append(a_record())
            with pytest.raises(DatabaseUnavailable, match="locked"):
                async with database.write():
                    pass
            assert await authenticator.find(secret)
            assert authenticator.ledger.ledger_answers, "readers never wait for a writer"
            assert await rows(database) == 0
            other.execute("COMMIT")
        assert await rows(database) == 50
    finally:
        other.close()
        writer.close()
        await authenticator.stop()
        await database.close()


async def test_sqlite_on_a_full_disk(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Guards against a full disk that ends the poster, or half a batch that is taken for posted."""
    monkeypatch.setattr("ledger.poster.BACKOFF_S_MAX", 0.2)
    database = Database(sqlite_url)
    async with database.read() as session:
        pages = int((await session.execute(text("PRAGMA page_count"))).scalar_one())

    async def leave_pages(count: int) -> None:
        """Its next connection is told that there is no more room."""
        async with database._writer_turn:
            await database._thread.close()
            database._thread._prepare = [*PRAGMAS, f"max_page_count = {count}"]

    await leave_pages(pages)
    writer = JournalWriter(worker_folder(tmp_path, 0))
    for _ in range(3000):
        writer.append(a_record())
    try:
        async with posting(database, tmp_path):
            await until(lambda: "database or disk is full" in caplog.text)
            assert await rows(database) < 3000
            await leave_pages(1_000_000)
        assert await rows(database) == 3000
    finally:
        writer.close()
        await database.close()
