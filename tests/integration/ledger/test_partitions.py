"""The partitions of `usage` on a real PostgreSQL: made ahead, filled, moved to, and pruned."""

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from ledger import prices
from ledger.database import Database
from ledger.errors import DatabaseFault, DatabaseUnavailable, DatabaseUnusable
from ledger.ids import id_time_us, new_request_id
from ledger.money import Rates
from ledger.partitions import MONTHS_AHEAD, ensure_partitions, is_partition, partition_name
from ledger.periods import DAY_US, month_span
from ledger.posting import post
from ledger.reports import UsageFilter, usage_rows
from ledger.terms import Terms
from tests.records import NOON_US, a_record

pytestmark = pytest.mark.postgres

BEGIN_US, END_US = month_span("2031-03")
"""A month that no migration has made ahead."""


@pytest.fixture
async def ledger(postgresql_url: str) -> AsyncIterator[Database]:
    opened = Database(postgresql_url)
    yield opened
    await opened.close()


async def ask(database: Database, statement: str) -> list[Any]:
    async with database.write() as session:
        result = await session.execute(text(statement))
        return list(result) if result.returns_rows else []


async def partitions(database: Database) -> set[str]:
    found = await ask(
        database, "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'usage'::regclass"
    )
    return {name for (name,) in found}


async def place_of(database: Database, request_id: str) -> str:
    [(place,)] = await ask(
        database, f"SELECT tableoid::regclass::text FROM usage WHERE request_id = '{request_id}'"
    )
    return str(place)


async def make(database: Database, now_us: int, months_ahead: int = MONTHS_AHEAD) -> list[str]:
    async with database.write() as session:
        return await ensure_partitions(session, now_us, months_ahead)


async def put(database: Database, *started_us: int) -> list[str]:
    """Posts a call for each instant; their ids."""
    records = [a_record(started_us=at_us, ended_us=at_us) for at_us in started_us]
    async with database.write() as session:
        await post(await session.connection(), records, Terms(), NOON_US)
    return [record.request_id for record in records]


async def test_a_migration_makes_this_month_and_the_next(ledger: Database) -> None:
    """Guards against a fresh ledger that has only a default partition until the first hour is over."""
    there = await partitions(ledger)
    assert "usage_default" in there and len(there) == 2 + MONTHS_AHEAD
    assert all(is_partition(name) for name in there)


async def test_months_are_made_once(ledger: Database) -> None:
    """Guards against a job that fails at its second turn, and against a month's edge in the wrong place."""
    assert await make(ledger, BEGIN_US) == [
        "usage_2031_03",
        "usage_2031_04",
        "usage_2031_05",
        "usage_2031_06",
    ]
    assert await make(ledger, END_US - 1) == []
    first, last, after = await put(ledger, BEGIN_US, END_US - 1, END_US)
    assert [await place_of(ledger, one) for one in (first, last, after)] == [
        "usage_2031_03", "usage_2031_03", "usage_2031_04",
    ]  # fmt: skip
    [before] = await put(ledger, BEGIN_US - 1)
    assert await place_of(ledger, before) == "usage_default"
    assert partition_name(id_time_us(first) or 0) == "usage_2031_03"


async def test_a_row_without_a_month_is_kept_and_moves_when_there_is_one(
    ledger: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """Guards against a posting that fails because the worker was away for a quarter, and against rows that
    keep their month from being attached.
    """
    ids = await put(ledger, BEGIN_US + 1, BEGIN_US + DAY_US, END_US + 1)
    odd = a_record(request_id="req_odd")
    async with ledger.write() as session:
        await post(await session.connection(), [odd], Terms(), NOON_US)
    assert {await place_of(ledger, one) for one in (*ids, "req_odd")} == {"usage_default"}
    with caplog.at_level(logging.WARNING, "metergate.partitions"):
        assert await make(ledger, NOON_US, months_ahead=0) == [
            "usage_2031_03",
            "usage_2031_04",
            "usage_2026_10",
        ]
    assert "2 rows moved from usage_default to usage_2031_03" in caplog.text
    assert [await place_of(ledger, one) for one in ids] == ["usage_2031_03", "usage_2031_03", "usage_2031_04"]
    assert await place_of(ledger, "req_odd") == "usage_default"


async def test_an_id_is_unique_across_all_partitions(ledger: Database) -> None:
    """Guards against a record posted twice where a row moved between the two."""
    record = a_record(request_id=new_request_id(BEGIN_US))
    for _ in range(2):
        async with ledger.write() as session:
            await post(await session.connection(), [record], Terms(), NOON_US)
        await make(ledger, BEGIN_US)
    assert await ask(ledger, "SELECT count(*) FROM usage") == [(1,)]
    with pytest.raises(IntegrityError):
        await ask(ledger, "INSERT INTO usage SELECT * FROM usage")


async def test_makers_that_meet_make_one_set(ledger: Database) -> None:
    """Guards against two workers that both see a month lack."""
    made = await asyncio.gather(*(make(ledger, BEGIN_US) for _ in range(3)))
    assert sorted(len(names) for names in made) == [0, 0, 4]


async def test_a_maker_does_not_wait_long_for_a_lock(
    ledger: Database, postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards against postings that queue behind a maker, which queues behind a long report."""
    monkeypatch.setattr("ledger.partitions.LOCK_MS", 50)
    async with ledger.read() as session:
        await session.execute(text("SELECT count(*) FROM usage"))
        with pytest.raises(DatabaseUnavailable, match="lock timeout"):
            await make(ledger, BEGIN_US)
    assert len(await make(ledger, BEGIN_US)) == 4


async def test_a_detached_table_is_left_alone(ledger: Database, caplog: pytest.LogCaptureFixture) -> None:
    """Guards against a worker that fails for ever because an operator keeps an old month aside."""
    await make(ledger, BEGIN_US, months_ahead=0)
    await ask(ledger, "ALTER TABLE usage DETACH PARTITION usage_2031_03")
    with caplog.at_level(logging.WARNING, "metergate.partitions"):
        assert await make(ledger, BEGIN_US, months_ahead=1) == ["usage_2031_04"]
    assert "usage_2031_03 is no partition of usage" in caplog.text


async def test_who_does_not_own_the_table_is_told(ledger: Database) -> None:
    """Guards against a traceback each hour where the servers' user may only read and write."""
    async with ledger.write() as session:
        await session.execute(text("CREATE ROLE clerk"))
        await session.execute(text("GRANT SELECT, INSERT ON usage, usage_default TO clerk"))
    try:
        async with ledger.write() as session:
            await session.execute(text("SET LOCAL ROLE clerk"))
            with pytest.raises(DatabaseUnusable, match="metergate db upgrade"):
                await ensure_partitions(session, BEGIN_US)
    finally:
        await ask(ledger, "DROP OWNED BY clerk")
        await ask(ledger, "DROP ROLE clerk")


async def test_rows_from_before_the_partitions_move_into_them(empty_postgresql_url: str) -> None:
    """Guards against a migration that loses the book, or leaves all of it in one partition; and back."""
    database = Database(empty_postgresql_url)
    try:
        await database.upgrade()
        ids = await put(database, NOON_US, BEGIN_US, END_US)
        before = sorted(await ask(database, "SELECT * FROM usage"))
        await database.downgrade("0002")
        assert await partitions(database) == set()
        newer_columns = 1  # that came after the partitions
        assert sorted(await ask(database, "SELECT * FROM usage")) == [row[:-newer_columns] for row in before]
        await database.upgrade()
        assert sorted(await ask(database, "SELECT * FROM usage")) == before
        assert [await place_of(database, one) for one in ids] == [
            "usage_2026_10", "usage_2031_03", "usage_2031_04",
        ]  # fmt: skip
    finally:
        await database.close()


async def test_a_months_export_reads_its_own_partition(
    ledger: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards against an export that reads every month there ever was, and one that misses a row because of
    it.
    """
    await make(ledger, BEGIN_US, months_ahead=11)
    noon = BEGIN_US + DAY_US // 2
    ids = await put(ledger, BEGIN_US, noon, END_US - 1)
    await put(ledger, BEGIN_US - 1, END_US)
    # The id is older than the start: the request came before midnight, its body after.
    late = a_record(request_id=new_request_id(BEGIN_US - 60_000_000), started_us=BEGIN_US + 1)
    async with ledger.write() as session:
        await post(await session.connection(), [late], Terms(), NOON_US)
    asked = []
    async with ledger.read() as session:
        execute = session.execute

        async def explained(query: Any) -> Any:
            shown = query.compile(dialect=session.get_bind().dialect, compile_kwargs={"literal_binds": True})
            asked.extend(line for (line,) in await execute(text(f"EXPLAIN {shown}")))
            return await execute(query)

        monkeypatch.setattr(session, "execute", explained)
        wanted = UsageFilter(BEGIN_US, END_US)
        rows = [row.request_id async for row in usage_rows(session, wanted)]
    assert rows == [ids[0], late.request_id, *ids[1:]]
    plan = "\n".join(asked)
    assert "usage_2031_03" in plan and "usage_2031_04" in plan
    assert not any(f"usage_2031_{month:02}" in plan for month in range(5, 13)), plan


async def test_a_price_now_looks_at_no_month_before(ledger: Database) -> None:
    """Guards against a price that begins before a call that is rated already: the margin must keep it in."""
    await put(ledger, BEGIN_US + 5)
    async with ledger.write() as session:
        version = await prices.set_price(session, "tiny", Rates(1, 1, 1), BEGIN_US)
    assert version.effective_from_us == BEGIN_US + 6


async def test_a_posting_that_meets_a_new_partition_comes_through(ledger: Database) -> None:
    """Guards against a record lost because its month was made while it was being posted to the default."""
    record = a_record(request_id=new_request_id(BEGIN_US), started_us=BEGIN_US)

    async def post_it() -> None:
        await ledger.transact(lambda connection: post(connection, [record], Terms(), NOON_US))

    async with ledger.write() as session:
        await ensure_partitions(session, BEGIN_US)
        posting = asyncio.create_task(post_it())
        while not await ask_waiting(session):
            await asyncio.sleep(0.01)
    try:
        await posting
    except DatabaseFault:
        await post_it()  # as the poster does: the journal has kept it
    assert await place_of(ledger, record.request_id) == "usage_2031_03"


async def ask_waiting(session: Any) -> bool:
    """Whether a statement waits for a lock of ours."""
    query = "SELECT count(*) FROM pg_locks WHERE NOT granted"
    return bool((await session.execute(text(query))).scalar_one())
