"""Transactions straight to the driver: whole or not at all, and as plain about failures as any other."""

import asyncio
import sqlite3

import asyncpg
import pytest

from ledger import patience
from ledger.database import Database
from ledger.direct import Connection
from ledger.errors import DatabaseUnavailable
from tests.integration.ledger.test_database import end

INSERT = "INSERT INTO lease_holder (id, host, worker, started_us, seen_us) VALUES ('h', 'here', 0, 1, 1)"
COUNT = "SELECT count(*) FROM lease_holder"


async def count(connection: Connection) -> int:
    return int((await connection.exec_driver_sql(COUNT, ())).scalar_one())


async def insert(connection: Connection) -> int:
    await connection.exec_driver_sql(INSERT, ())
    return await count(connection)


async def test_what_is_done_stays_and_is_seen_by_others(database: Database) -> None:
    """Guards against a transaction that is never committed."""
    assert await database.transact(insert) == 1
    async with database.read() as session:
        assert await count(await session.connection()) == 1


async def test_what_raises_leaves_nothing(database: Database) -> None:
    """Guards against half an exchange, and against a connection that stays inside a broken transaction."""

    async def breaks(connection: Connection) -> None:
        await insert(connection)
        raise KeyError("x")

    for _ in range(2):
        with pytest.raises(KeyError):
            await database.transact(breaks)
    assert await database.transact(count) == 0
    assert await database.transact(insert) == 1


async def test_a_statement_that_breaks_a_constraint_is_the_callers(database: Database) -> None:
    """Guards against a fault of ours that is taken for an outage, and waited out."""
    await database.transact(insert)
    with pytest.raises((sqlite3.IntegrityError, asyncpg.UniqueViolationError)):
        await database.transact(insert)
    assert await database.transact(count) == 1


async def test_in_sqlites_thread_nothing_else_is_waited_for(sqlite_url: str) -> None:
    """Guards against a transaction that holds the one writer while it waits for the event loop."""
    database = Database(sqlite_url)

    async def waits(connection: Connection) -> None:
        await insert(connection)
        await asyncio.sleep(0)

    with pytest.raises(RuntimeError, match="waited"):
        await database.transact(waits)
    assert await database.transact(count) == 0
    await database.close()


async def test_a_locked_sqlite_is_away_and_comes_back(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards against a lock held by another program that is no DatabaseFault, or that is never got over."""
    monkeypatch.setattr(patience, "SQLITE_BUSY_S", 0.05)
    database = Database(sqlite_url)
    assert await database.transact(count) == 0
    other = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(DatabaseUnavailable, match="locked"):
        await database.transact(count)
    other.execute("ROLLBACK")
    other.close()
    assert await database.transact(insert) == 1
    await database.close()


@pytest.mark.postgres
async def test_a_connection_that_the_server_ends_is_a_fault_and_goes_to_no_one_else(
    postgresql_url: str,
) -> None:
    """Guards against a dead connection in the pool, and against asyncpg's own errors in a worker's log."""
    database = Database(postgresql_url, pool_size=1)

    async def ended(connection: Connection) -> None:
        pid = (await connection.exec_driver_sql("SELECT pg_backend_pid()", ())).scalar_one()
        await end(postgresql_url, pid)
        await count(connection)

    for _ in range(2):
        with pytest.raises(DatabaseUnavailable):
            await database.transact(ended)
    assert await database.transact(insert) == 1
    await database.close()


@pytest.mark.postgres
async def test_a_transaction_that_is_cancelled_leaves_no_connection_with_it(postgresql_url: str) -> None:
    """Guards against a worker that stops in the middle of an exchange and leaves its lock to the next."""
    database = Database(postgresql_url, pool_size=1)
    begun = asyncio.Event()

    async def sleeps(connection: Connection) -> None:
        await insert(connection)
        begun.set()
        await connection.exec_driver_sql("SELECT pg_sleep(30)", ())

    task = asyncio.create_task(database.transact(sleeps))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await database.transact(insert) == 1
    await database.close()
