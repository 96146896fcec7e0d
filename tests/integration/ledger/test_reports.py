"""Reports: exact sums, and pages that miss nothing, on both databases."""

from collections import Counter
from itertools import count
from typing import Any

import pytest
from sqlalchemy import text

from ledger import prices, reports, tenancy
from ledger.database import Database
from ledger.errors import Refused
from ledger.ids import id_at
from ledger.key_settings import change_api_key
from ledger.money import Rates
from ledger.periods import DAY_US, HOUR_US, month_span
from ledger.posting import post
from ledger.record import CallRecord
from ledger.reports import UsageFilter, daily, usage_rows, usage_totals
from ledger.tags import Tags
from ledger.terms import Terms
from tests.people import PEPPER
from tests.records import NOON_US, a_record


async def fill(database: Database) -> list[CallRecord]:
    """250 calls of two tenants over three days, many at one instant, two models, one of them priced."""
    records = [
        a_record(
            request_id=f"{id_at(NOON_US + number // 10 * 3 * HOUR_US)}{number:018x}",
            started_us=NOON_US + number // 10 * 3 * HOUR_US,
            tenant_id=f"org-{number % 2}",
            model="tiny" if number % 3 else "free",
            prompt_tokens=number + 10,
        )
        for number in range(250)
    ]
    async with database.write() as session:
        await prices.set_price(session, "tiny", Rates(150_000, 75_000, 600_000), 1, currency="EUR")
    async with database.write() as session:
        await post(await session.connection(), records, Terms(), NOON_US)
    return records


async def test_pages_give_every_row_once_and_in_order(database: Database) -> None:
    """Guards against rows of one instant lost between two pages."""
    records = await fill(database)
    for page_rows in (1, 7, 250, 1000):
        async with database.read() as session:
            found = [row.request_id async for row in usage_rows(session, UsageFilter(), page_rows)]
        assert found == [record.request_id for record in records]


async def test_a_page_costs_no_more_for_what_is_before_it(sqlite_url: str) -> None:
    """Guards against an export of a month that takes the square of its calls: each page of a million read all
    those before it again, on SQLite, which goes to the beginning of the span and not to the place.
    """
    database = Database(sqlite_url)
    await fill(database)
    steps: list[int] = []
    span = UsageFilter(NOON_US, NOON_US + 31 * DAY_US)
    async with database.read() as session:
        raw: Any = (await (await session.connection()).get_raw_connection()).driver_connection
        last = None
        while not steps or last is not None:
            counted = count()
            await raw.set_progress_handler(lambda of=counted: next(of) and None, 10)
            rows = await reports.usage_page(session, span, last, 10)
            steps.append(next(counted))
            last = rows[-1] if rows else None
        await raw.set_progress_handler(None, 10)
    await database.close()
    assert len(steps) == 26
    assert max(steps[1:-1]) <= 1.5 * steps[0]


async def test_filters_are_half_open_and_joined(database: Database) -> None:
    """Guards against a call in two months, or in none."""
    records = await fill(database)
    begin, end = NOON_US + 3 * HOUR_US, NOON_US + 30 * HOUR_US
    wanted = UsageFilter(begin, end, tenant_id="org-1", model="tiny")
    expected = [
        record
        for record in records
        if begin <= record.started_us < end and record.tenant_id == "org-1" and record.model == "tiny"
    ]
    async with database.read() as session:
        rows = [row async for row in usage_rows(session, wanted)]
        (total,) = await usage_totals(session, wanted)
    assert [row.request_id for row in rows] == [record.request_id for record in expected]
    assert total.calls == len(expected)
    assert total.prompt_tokens == sum(record.prompt_tokens for record in expected)
    assert total.amount_picos == sum(row.amount_picos for row in rows) > 0
    assert total.currency == "EUR"


async def test_totals_days_and_rows_tell_the_same(database: Database) -> None:
    """Guards against three answers to one question."""
    await fill(database)
    amounts: Counter[tuple[str, int, str]] = Counter()
    async with database.read() as session:
        async for row in usage_rows(session, UsageFilter()):
            amounts[row.currency, row.started_us // DAY_US * DAY_US, row.tenant_id] += row.amount_picos
        days = await daily(session, UsageFilter(), by=["tenant_id"])
        totals = await usage_totals(session, UsageFilter(), by=["tenant_id", "model"])
    assert {(day.currency, day.day_us, day.group[0]): day.amount_picos for day in days} == dict(amounts)
    assert [day.day_us for day in days] == sorted(day.day_us or 0 for day in days)
    assert {total.group for total in totals} == {(t, m) for t in ("org-0", "org-1") for m in ("tiny", "free")}
    assert sum(total.amount_picos for total in totals) == sum(amounts.values())
    assert sum(total.calls for total in totals) == 250


async def test_rows_and_days_say_what_their_keys_are_called(database: Database) -> None:
    """Guards against a call that is left out because its key is not there, and one that is told twice."""
    async with database.write() as session:
        tenant = await tenancy.create_tenant(session, "T", 1)
        project = await tenancy.create_project(session, tenant.id, "P", 1)
        tags = Tags.of({"team": "search"})
        key, _ = await tenancy.create_api_key(session, PEPPER, project.id, "Was", 1, tags=tags)
        bare, _ = await tenancy.create_api_key(session, PEPPER, project.id, "Bare", 1)
    ids = (key.id, bare.id, "key_of_another_ledger")
    records = [a_record(api_key_id=ids[number % 3]) for number in range(6)]
    async with database.write() as session:
        await post(await session.connection(), records, Terms(), NOON_US)
        await change_api_key(session, key.id, {"name": "Is"}, 2)
    labels = {key.id: ("Is", tags), bare.id: ("Bare", None), ids[2]: (None, None)}
    async with database.read() as session:
        rows = [row async for row in usage_rows(session, UsageFilter(), 4)]
        days = await daily(session, UsageFilter(), ["model", "api_key_id"])
        assert [day.key for day in await daily(session, UsageFilter(), ["model"])] == [None]
    assert len(rows) == 6
    assert all((row.api_key_name, row.api_key_tags) == labels[row.api_key_id] for row in rows)
    told = {day.group[1]: (day.key.name, day.key.tags) if day.key else (None, None) for day in days}
    assert told == labels


async def test_nothing_gives_no_totals(database: Database) -> None:
    """Guards against a row of nulls."""
    async with database.read() as session:
        assert await usage_totals(session, UsageFilter()) == []
        assert [row async for row in usage_rows(session, UsageFilter())] == []


async def test_a_span_of_parts_of_hours_is_refused(database: Database) -> None:
    """Guards against a total of the whole hour for a part of it."""
    async with database.read() as session:
        with pytest.raises(Refused, match="hour"):
            await usage_totals(session, UsageFilter(from_us=NOON_US + 1))
        begin, end = month_span("2026-10")
        assert await usage_totals(session, UsageFilter(begin, end)) == []


@pytest.mark.parametrize("sign", [1, -1])
async def test_sums_past_64_bits_are_exact(database: Database, sign: int) -> None:
    """Guards against SQLite's SUM, which fails past 64 bits, and against floats; reversals are negative."""
    amounts = [sign * (9_223_372_036_854_775_807 - number) for number in range(40)]
    insert = text(
        "INSERT INTO usage_hour VALUES (:hour, 'o', 'p', 'k', 'm', 'e', 'USD', 'final', 1, 1, 0, 1, :amount)"
    )
    async with database.write() as session:
        for number, amount in enumerate(amounts):
            await session.execute(insert, {"hour": number * HOUR_US, "amount": amount})
    async with database.read() as session:
        (total,) = await usage_totals(session, UsageFilter())
    assert total.amount_picos == sum(amounts)
    assert reports._SPLIT == 10**9
