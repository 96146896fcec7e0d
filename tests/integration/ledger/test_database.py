"""What a PostgreSQL that is busy, silent or restarted does to us: a clear fault in time, never a hang."""

import asyncio
import os
import re
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from ledger import patience, tenancy
from ledger.database import Database
from ledger.direct import Connection
from ledger.errors import DatabaseUnavailable, DatabaseUnusable
from ledger.partitions import ensure_partitions
from ledger.posting import post
from ledger.terms import Terms
from tests.records import a_record

pytestmark = pytest.mark.postgres

POOL = 3
PID = "SELECT pg_backend_pid()"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits that a test can wait for."""
    for name in ("LOCK_MS", "STATEMENT_MS", "COMMAND_MS"):
        monkeypatch.setattr(patience, name, {"LOCK_MS": 200, "STATEMENT_MS": 400, "COMMAND_MS": 800}[name])
    monkeypatch.setattr(patience, "POOL_WAIT_S", 0.2)


@pytest.fixture
async def ledger(quick: None, postgresql_url: str) -> AsyncIterator[Database]:
    opened = Database(postgresql_url, pool_size=POOL)
    yield opened
    await opened.close()


async def pid(session: AsyncSession) -> int:
    return int((await session.execute(text("SELECT pg_backend_pid()"))).scalar_one())


async def end(postgresql_url: str, backend: int) -> None:
    """Ends a connection, as a restart of the server does, and waits until it is gone."""
    operator = await asyncpg.connect(postgresql_url)
    try:
        assert await operator.fetchval("SELECT pg_terminate_backend($1, 10000)", backend)
    finally:
        await operator.close()


async def test_a_held_lock_is_a_fault_in_time(ledger: Database) -> None:
    """Guards against a poster that hangs behind somebody's forgotten transaction."""
    change = text("UPDATE alembic_version SET version_num = version_num")
    async with ledger.write() as holder:
        await holder.execute(change)
        with pytest.raises(DatabaseUnavailable, match="lock timeout"):
            async with ledger.write() as session:
                await session.execute(change)
    async with ledger.write() as session:
        await session.execute(change)


async def test_a_long_statement_is_a_fault_in_time(ledger: Database) -> None:
    """Guards against a query without an end that keeps a connection for itself."""
    with pytest.raises(DatabaseUnavailable, match="statement timeout"):
        async with ledger.read() as session:
            await session.execute(text("SELECT pg_sleep(60)"))


@pytest.mark.parametrize("change", ["ALTER TABLE api_key RENAME TO away", "REVOKE ALL ON api_key FROM clerk"])
async def test_a_table_that_we_may_not_have_is_the_databases_fault(ledger: Database, change: str) -> None:
    """Guards against 500 and a traceback for each call where grants are missing or the schema was changed."""
    async with ledger.write() as session:
        await session.execute(text("CREATE ROLE clerk"))
        await session.execute(text(change))
    try:
        with pytest.raises(DatabaseUnusable, match=r"does not exist|permission denied") as caught:
            async with ledger.read() as session:
                await session.execute(text("SET LOCAL ROLE clerk"))
                await session.execute(text("SELECT id FROM api_key"))
        assert "\n" not in str(caught.value)
    finally:
        async with ledger.write() as session:
            await session.execute(text("DROP OWNED BY clerk"))
            await session.execute(text("DROP ROLE clerk"))


async def test_the_documented_grants_are_enough(ledger: Database) -> None:
    """Guards against a server that needs to own its tables, which operators rightly do not let it."""
    page = (Path(__file__).parents[3] / "docs" / "operations.md").read_text()
    grants = re.findall(r"^GRANT .* TO metergate;$", page, re.MULTILINE)
    assert len(grants) == 2
    async with ledger.write() as session:
        await session.execute(text("CREATE ROLE metergate"))
        for grant in grants:
            await session.execute(text(grant))
    now_us = time.time_ns() // 1000
    try:
        async with ledger.write() as session:
            await session.execute(text("SET LOCAL ROLE metergate"))
            await ensure_partitions(session, now_us)
            tenant = await tenancy.create_tenant(session, "A", now_us)
            await session.flush()
            project = await tenancy.create_project(session, tenant.id, "p", now_us)
            await session.flush()
            key, _ = await tenancy.create_api_key(session, b"pepper", project.id, "k", now_us)
            record = a_record(started_us=now_us, api_key_id=key.id)
            assert (await post(await session.connection(), [record], Terms(), now_us)).inserted == 1
    finally:
        async with ledger.write() as session:
            await session.execute(text("DROP OWNED BY metergate"))
            await session.execute(text("DROP ROLE metergate"))


async def test_a_silent_server_is_a_fault_in_time(ledger: Database) -> None:
    """Guards against a host that is gone without a word: its own timeouts cannot reach us."""
    stopped = 0
    try:
        with pytest.raises(DatabaseUnavailable, match="does not answer"):
            async with ledger.read() as session:
                stopped = await pid(session)
                os.kill(stopped, signal.SIGSTOP)
                await session.execute(text("SELECT 1"))
    finally:
        os.kill(stopped, signal.SIGCONT)
    async with ledger.read() as session:
        assert await pid(session) != stopped


async def test_connections_are_bounded(postgresql_url: str) -> None:
    """Guards against a burst that takes the server's last connection from everybody else."""
    ledger = Database(postgresql_url, pool_size=POOL)
    pids = set()

    async def read() -> None:
        async with ledger.read() as session:
            pids.add(await pid(session))

    await asyncio.gather(*(read() for _ in range(50)))
    await ledger.close()
    assert 1 <= len(pids) <= POOL


async def test_who_gets_no_connection_is_told_in_time(ledger: Database) -> None:
    """Guards against a wait without an end for a connection that nobody gives back."""
    async with ledger.read(), ledger.read(), ledger.read():
        with pytest.raises(DatabaseUnavailable, match="all 3 connections are in use"):
            async with ledger.read():
                pass


async def test_a_connection_that_was_closed_is_not_used_again(ledger: Database, postgresql_url: str) -> None:
    """Guards against an error for each pooled connection after a restart of the server."""
    async with ledger.read() as session:
        before = await pid(session)
    await end(postgresql_url, before)
    async with ledger.read() as session:
        assert await pid(session) != before


async def test_a_connection_that_breaks_is_replaced_once_for_a_read(
    ledger: Database, postgresql_url: str
) -> None:
    """Guards against a 503 for a key because the server was restarted at that instant; and against asking
    for ever.
    """
    backends = []

    async def work(connection: Connection) -> int:
        backends.append((await connection.exec_driver_sql(PID)).scalar_one())
        if len(backends) in broken:
            await end(postgresql_url, backends[-1])
        return int((await connection.exec_driver_sql(PID)).scalar_one())

    broken = {1}
    assert await ledger.look(work) == backends[1] != backends[0]
    backends.clear()
    broken = {1, 2}
    with pytest.raises(DatabaseUnavailable):
        await ledger.look(work)
    assert len(backends) == 2


async def test_a_fault_of_the_work_is_not_asked_again(ledger: Database) -> None:
    """Guards against a statement that times out and is then sent a second time, by everybody at once."""
    asked = []

    async def work(connection: Connection) -> None:
        asked.append(1)
        await connection.exec_driver_sql("SELECT pg_sleep(60)")

    with pytest.raises(DatabaseUnavailable):
        await ledger.look(work)
    assert asked == [1]


async def test_a_connection_that_cannot_even_be_rolled_back_is_a_fault_and_replaced(
    quick: None, postgresql_url: str
) -> None:
    """Guards against a server killed under a statement: the driver then refuses the rollback in words of its
    own, which is the database's fault and none of ours; and such a connection must not come back to the pool.
    """
    ledger = Database(postgresql_url, pool_size=1)
    try:
        with pytest.raises(DatabaseUnavailable):
            async with ledger.read() as session:
                assert await pid(session)  # the transaction has begun
                raw = await (await session.connection()).get_raw_connection()
                under_way = asyncio.create_task(raw.driver_connection.execute("SELECT pg_sleep(0.3)"))
                await asyncio.sleep(0)
        async with ledger.read() as session:
            assert await pid(session)
        await asyncio.gather(under_way, return_exceptions=True)
    finally:
        await ledger.close()
