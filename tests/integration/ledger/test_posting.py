"""Posting: every call once, rated exactly, and rollups that tie to their rows, on both databases."""

import asyncio
import itertools
from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select, text

from ledger import prices, tenancy, usage_columns
from ledger.database import Database
from ledger.errors import DatabaseUnusable
from ledger.money import Rates, rate
from ledger.periods import DAY_US, HOUR_US
from ledger.posting import PostResult, post
from ledger.record import CallRecord, Ending
from ledger.tables import Table
from ledger.terms import Terms
from ledger.usage import UsageSource
from tests.records import NOON_US, a_record

RATES = Rates(150_000, 75_000, 600_000, request_micros=7)
USAGE = Table.metadata.tables["usage"]
HOURS = Table.metadata.tables["usage_hour"]
DAYS = Table.metadata.tables["usage_day"]
PROJECT_HOURS = Table.metadata.tables["project_hour"]
PROJECT_DAYS = Table.metadata.tables["project_day"]
SUMS = ("prompt_tokens", "cached_prompt_tokens", "completion_tokens", "amount_picos")
_tenants = (f"org-{number}" for number in itertools.count())


async def rows_of(database: Database, table: Any, tenant_id: str) -> list[Any]:
    async with database.read() as session:
        return list(await session.execute(select(table).where(table.c.tenant_id == tenant_id)))


async def post_all(database: Database, records: list[CallRecord], book: Terms) -> PostResult:
    return await database.transact(lambda connection: post(connection, records, book, NOON_US + 9_000_000))


def expected_sums(rows: list[Any]) -> dict[Any, Counter[str]]:
    """The rollups that a person would add up from the rows."""
    sums: dict[Any, Counter[str]] = {}
    for row in rows:
        key = (
            row.started_us // HOUR_US * HOUR_US,
            row.tenant_id,
            row.project_id,
            row.api_key_id,
            row.model,
            row.endpoint,
            row.currency,
            row.usage_source,
        )
        sums.setdefault(key, Counter()).update({"calls": 1} | {name: getattr(row, name) for name in SUMS})
    return sums


def stored_sums(hours: list[Any]) -> dict[Any, Counter[str]]:
    return {
        tuple(hour[:8]): Counter({name: getattr(hour, name) for name in ("calls", *SUMS)}) for hour in hours
    }


def expected_days(rows: list[Any], *, by_key: bool) -> dict[Any, Counter[str]]:
    """The same by the day and by what rated them."""
    sums: dict[Any, Counter[str]] = {}
    for row in rows:
        is_due = row.usage_source != UsageSource.UNRESOLVED
        names = (
            row.tenant_id,
            row.project_id,
            *([row.api_key_id] if by_key else []),
            row.model,
            row.endpoint,
        )
        key = (row.started_us // DAY_US * DAY_US, *names, (row.price_version_id or "") if is_due else "")
        counted = {"calls": 1} | {name: getattr(row, name) for name in SUMS[:3]}
        sums.setdefault(key, Counter()).update(counted)
    return sums


def expected_project_hours(rows: list[Any]) -> dict[Any, Counter[str]]:
    """What the hours by project must be, from the rows."""
    hours: dict[Any, Counter[str]] = {}
    for row in rows:
        hour_us = row.started_us - row.started_us % HOUR_US
        key = (hour_us, row.tenant_id, row.project_id, row.model, row.endpoint)
        counts = {name: getattr(row, name) for name in SUMS[:3]}
        hours.setdefault(key, Counter()).update({"calls": 1, **counts})
    return hours


def stored_days(days: list[Any]) -> dict[Any, Counter[str]]:
    return {tuple(day[:-4]): Counter(dict(zip(("calls", *SUMS[:3]), day[-4:], strict=True))) for day in days}


async def test_a_row_says_everything_that_the_record_does(database: Database) -> None:
    """Guards against a column filled from its neighbour: the statement names columns by their order."""
    book = Terms()
    async with database.write() as session:
        version = await prices.set_price(session, "tiny", RATES, 1)
    record = a_record(
        http_status=201,
        ending=Ending.CLIENT_LEFT,
        usage_source=UsageSource.RUNNING,
        end_user="ann",
        choices_per_prompt=3,
    )
    assert await post_all(database, [record], book) == PostResult(1, 0, 0)
    (row,) = await rows_of(database, USAGE, record.tenant_id)
    for name in set(CallRecord.__struct_fields__) - {"holder_id", "charges"}:  # of the leases, not of the use
        assert getattr(row, name) == getattr(record, name), name
    assert row.amount_picos == rate(record.usage, RATES)
    assert type(row.amount_picos) is int
    assert (row.currency, row.price_version_id) == ("USD", version.id)
    assert row.posted_us == NOON_US + 9_000_000
    assert [column.name for column in USAGE.columns] == list(usage_columns.USAGE)
    (hour,) = await rows_of(database, HOURS, record.tenant_id)
    assert (hour.calls, hour.hour_us, hour.amount_picos) == (1, NOON_US, row.amount_picos)


async def test_an_unpriced_model_is_free_and_says_so(database: Database) -> None:
    """Guards against a guess at a price."""
    book = Terms(currency="EUR")
    assert await post_all(database, [a_record(model="unheard")], book) == PostResult(1, 0, 1)
    (row,) = await rows_of(database, USAGE, "org-a")
    assert (row.amount_picos, row.price_version_id, row.currency) == (0, None, "EUR")


async def test_an_unresolved_call_costs_nothing(database: Database) -> None:
    """Guards against a bill for a call of which nothing is known, be it the price of the request alone."""
    async with database.write() as session:
        version = await prices.set_price(session, "tiny", Rates(1, 1, 1, 1), 1)
    record = a_record(
        usage_source=UsageSource.UNRESOLVED, prompt_tokens=0, cached_prompt_tokens=0, completion_tokens=0
    )
    await post_all(database, [record], Terms())
    (row,) = await rows_of(database, USAGE, "org-a")
    assert (row.amount_picos, row.price_version_id) == (0, version.id)


async def test_posting_again_adds_nothing(database: Database) -> None:
    """Guards against a crash between the commit and the cursor that bills twice."""
    book = Terms()
    records = [a_record(request_id=f"req_{number}") for number in range(50)]
    assert await post_all(database, records, book) == PostResult(50, 0, 50)
    before = stored_sums(await rows_of(database, HOURS, "org-a"))
    assert await post_all(database, records, book) == PostResult(0, 50, 0)
    twice = [records[0], a_record(request_id="req_new"), records[1], a_record(request_id="req_new")]
    assert await post_all(database, twice, book) == PostResult(1, 3, 1)
    after = stored_sums(await rows_of(database, HOURS, "org-a"))
    assert sum(sums["calls"] for sums in before.values()) == 50
    assert sum(sums["calls"] for sums in after.values()) == 51


async def test_a_rolled_back_batch_leaves_nothing(database: Database) -> None:
    """Guards against rollups without rows, or rows without rollups."""
    with pytest.raises(RuntimeError, match="crash"):
        async with database.write() as session:
            await post(await session.connection(), [a_record()], Terms(), NOON_US)
            raise RuntimeError("crash")
    assert await rows_of(database, USAGE, "org-a") == []
    assert await rows_of(database, HOURS, "org-a") == []


async def test_a_key_knows_its_last_use(database: Database) -> None:
    """Guards against a late batch that sets the clock of a key back."""
    async with database.write() as session:
        tenant = await tenancy.create_tenant(session, "Acme", 1)
        project = await tenancy.create_project(session, tenant.id, "search", 1)
        key, _ = await tenancy.create_api_key(session, b"p" * 32, project.id, "ci", 1)
    book = Terms()
    late, early = (a_record(api_key_id=key.id, started_us=NOON_US + at) for at in (50, 10))
    await post_all(database, [late], book)
    await post_all(database, [early, a_record(api_key_id="key_gone")], book)
    async with database.read() as session:
        found = await tenancy.get_api_key(session, key.id)
    assert found.last_used_us == NOON_US + 50


async def test_amounts_past_64_bits(database: Database) -> None:
    """Guards against a sum that turns into a float: PostgreSQL keeps it exact, SQLite refuses it loudly."""
    book = Terms()
    async with database.write() as session:
        await prices.set_price(session, "tiny", Rates(10**13, 0, 0), 1)
    records = [a_record(prompt_tokens=900_000, cached_prompt_tokens=0) for _ in range(3)]
    if database.is_sqlite:
        with pytest.raises(DatabaseUnusable, match="use PostgreSQL"):  # within one batch
            await post_all(database, records[:2], book)
        await post_all(database, records[:1], book)
        with pytest.raises(DatabaseUnusable, match="use PostgreSQL"):  # on top of what is there
            await post_all(database, records[1:2], book)
        (hour,) = await rows_of(database, HOURS, "org-a")
        assert hour.amount_picos == 9 * 10**18
    else:
        await post_all(database, records[:2], book)
        await post_all(database, records[2:], book)
        (hour,) = await rows_of(database, HOURS, "org-a")
        assert hour.amount_picos == 3 * 9 * 10**18


CALLS = st.lists(
    st.fixed_dictionaries(
        {
            "started_us": st.integers(min_value=NOON_US - 2 * HOUR_US, max_value=NOON_US + 13 * HOUR_US),
            "project_id": st.sampled_from(["proj_1", "proj_2"]),
            "api_key_id": st.sampled_from(["key_1", "key_2"]),
            "model": st.sampled_from(["tiny", "free"]),
            "endpoint": st.sampled_from(["chat.completions", "embeddings"]),
            "usage_source": st.sampled_from(UsageSource),
            "prompt_tokens": st.integers(min_value=10, max_value=10**6),
            "cached_prompt_tokens": st.integers(min_value=0, max_value=10),
            "completion_tokens": st.integers(min_value=0, max_value=10**6),
        }
    ),
    min_size=1,
    max_size=12,
)


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(calls=CALLS, data=st.data())
async def test_any_redelivery_gives_the_same_book(
    database: Database, calls: list[dict[str, Any]], data: st.DataObject
) -> None:
    """Guards against any order, overlap, repetition or crash of batches that changes a sum by one."""
    tenant_id = next(_tenants)
    records = [a_record(tenant_id=tenant_id, **call) for call in calls]
    book = Terms()
    async with database.write() as session:
        if not await prices.list_prices(session, model="tiny"):
            await prices.set_price(session, "tiny", RATES, 1)
    batch = st.lists(st.sampled_from(records), max_size=15)
    for delivery in [*data.draw(st.lists(batch, max_size=5), label="deliveries"), records]:
        if data.draw(st.booleans(), label="crash before the commit"):
            with pytest.raises(RuntimeError, match="crash"):
                async with database.write() as session:
                    await post(await session.connection(), delivery, book, NOON_US)
                    raise RuntimeError("crash")
        await post_all(database, delivery, book)
    rows = await rows_of(database, USAGE, tenant_id)
    assert {row.request_id for row in rows} == {record.request_id for record in records}
    assert stored_sums(await rows_of(database, HOURS, tenant_id)) == expected_sums(rows)
    project_hours = stored_days(await rows_of(database, PROJECT_HOURS, tenant_id))
    assert project_hours == expected_project_hours(rows)
    assert stored_days(await rows_of(database, DAYS, tenant_id)) == expected_days(rows, by_key=True)
    assert stored_days(await rows_of(database, PROJECT_DAYS, tenant_id)) == expected_days(rows, by_key=False)
    assert sum(row.amount_picos for row in rows) == sum(
        rate(record.usage, RATES)
        for record in records
        if record.model == "tiny" and record.usage_source is not UsageSource.UNRESOLVED
    )


async def test_two_hosts_post_the_same_records_at_once(database_url: str) -> None:
    """Guards against two posters that both believe a row to be theirs, or that deadlock."""
    hosts = [Database(database_url) for _ in range(3)]
    records = [
        a_record(request_id=f"req_{number:04}", project_id=f"proj_{number % 7}") for number in range(600)
    ]

    async def deliver(database: Database, turn: int) -> int:
        inserted = 0
        for begin in range(0, 600, 100):
            at = (begin + turn * 200) % 600
            inserted += (await post_all(database, records[at : at + 100], Terms())).inserted
        return inserted

    inserted = await asyncio.gather(*(deliver(host, turn) for turn, host in enumerate(hosts)))
    assert sum(inserted) == 600
    async with hosts[0].read() as session:
        assert (await session.execute(text("SELECT sum(calls) FROM usage_hour"))).scalar_one() == 600
    for host in hosts:
        await host.close()
