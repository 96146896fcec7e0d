"""Sums of what posters without them have posted: by the migrations, and by the background worker."""

import logging
from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy import text

from ledger import prices
from ledger.database import Database
from ledger.day_sums import tie_last_days, untied_days, untied_hours
from ledger.ids import id_at
from ledger.money import Rates
from ledger.periods import DAY_US, HOUR_US
from ledger.posting import post
from ledger.record import CallRecord
from ledger.terms import Terms
from ledger.usage import UsageSource
from ledger.verification.verify import verify
from tests.records import NOON_US, a_record

CHANGED_US = NOON_US + 7
LATER_US = NOON_US + 2 * DAY_US


async def fill(database: Database) -> None:
    """Calls of three days and three months, with and without a price, some unresolved, two prices an hour."""
    async with database.write() as session:
        await prices.set_price(session, "tiny", Rates(150_000, 75_000, 600_000, 3), 1)
        await prices.set_price(session, "tiny", Rates(140_000, 75_000, 600_000), 1, from_us=CHANGED_US)
    starts = [NOON_US + number * 5 * HOUR_US + number for number in range(12)]
    starts += [NOON_US - 31 * DAY_US, NOON_US - 62 * DAY_US]
    records = [_call(number, started_us) for number, started_us in enumerate(starts * 3)]
    async with database.write() as session:
        await post(await session.connection(), records, Terms(), LATER_US)


def _call(number: int, started_us: int) -> CallRecord:
    is_lost = number % 7 == 0
    return a_record(
        request_id=f"{id_at(started_us)}{number:018x}",
        started_us=started_us,
        ended_us=started_us + 1,
        model="tiny" if number % 3 else "free",
        api_key_id=f"key_{number % 4}",
        usage_source=UsageSource.UNRESOLVED if is_lost else UsageSource.FINAL,
        prompt_tokens=0 if is_lost else 100 + number,
        cached_prompt_tokens=0 if is_lost else number,
        completion_tokens=0 if is_lost else 7 * number,
    )


async def sums(database: Database) -> list[Sequence[Any]]:
    async with database.read() as session:
        return [
            row
            for table in ("usage_day", "project_day", "project_hour")
            for row in sorted(map(tuple, await session.execute(text(f"SELECT * FROM {table}"))))
        ]


async def forget(database: Database, where: str) -> None:
    async with database.write() as session:
        for table in ("usage_day", "project_day"):
            await session.execute(text(f"DELETE FROM {table} WHERE {where}"))


async def test_the_migrations_fill_days_and_hours(database: Database) -> None:
    """Guards against an upgrade after which last month has no costs."""
    await fill(database)
    before = await sums(database)
    assert len(before) > 20
    await database.downgrade("0009")
    await database.upgrade()
    assert await sums(database) == before
    async with database.read() as session:
        assert (await verify(session, LATER_US)).is_clean


@pytest.mark.postgres
async def test_a_detached_month_is_filled_from_its_hours(
    postgresql_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Guards against costs that are gone with the rows; an hour of two prices has none, and is told."""
    database = Database(postgresql_url)
    try:
        await fill(database)
        before = await sums(database)
        await database.downgrade("0009")
        async with database.write() as session:
            await session.execute(text("DELETE FROM usage WHERE started_us < :noon"), {"noon": NOON_US})
        await database.upgrade()
        assert await sums(database) == before
        assert not caplog.records
        await database.downgrade("0009")
        async with database.write() as session:
            await session.execute(text("UPDATE usage_hour SET amount_picos = 1 WHERE model = 'tiny'"))
            await session.execute(text("DELETE FROM usage"))
        with caplog.at_level(logging.WARNING, "metergate.migrations"):
            await database.upgrade()
        assert "several prices rated it" in caplog.text
        counts = [row[-4:] for row in before]
        assert sum(row[-4] for row in await sums(database)) == sum(calls for calls, *_ in counts)
    finally:
        await database.close()


async def test_hours_by_project_that_older_posters_left_out_are_made_anew(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """Guards against a rolling upgrade whose hours lack calls, also where the rows are detached by then."""
    await fill(database)
    before = await sums(database)
    day_us = LATER_US - LATER_US % DAY_US - DAY_US
    async with database.write() as session:
        await session.execute(text(f"DELETE FROM usage WHERE started_us >= {day_us}"))
    of_day = f"hour_us >= {day_us} AND hour_us < {day_us + DAY_US}"
    for where in (of_day, f"{of_day} AND model = 'tiny'"):
        async with database.write() as session:
            await session.execute(text(f"DELETE FROM project_hour WHERE {where}"))
        async with database.read() as session:
            assert await untied_hours(session, day_us - DAY_US, day_us + DAY_US) == [day_us]
        await tie_last_days(database, LATER_US)
        assert await sums(database) == before
        assert "hourly sums by project" in caplog.text
        caplog.clear()
    await tie_last_days(database, LATER_US)
    assert not caplog.records


async def test_what_older_posters_posted_is_added_to_its_day(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """Guards against a rolling upgrade during which calls are in the rows and in no day."""
    await fill(database)
    before = await sums(database)
    day_us = LATER_US - LATER_US % DAY_US - DAY_US
    for where in (f"day_us = {day_us}", f"day_us = {day_us} AND model = 'tiny'"):
        await forget(database, where)
        async with database.read() as session:
            assert await untied_days(session, day_us - DAY_US, day_us + DAY_US) == [day_us]
        await tie_last_days(database, LATER_US)
        assert await sums(database) == before
    assert "made anew" in caplog.text
    caplog.clear()
    await tie_last_days(database, LATER_US)
    assert not caplog.records
    async with database.write() as session:
        await session.execute(text(f"DELETE FROM usage WHERE started_us >= {day_us} AND model = 'tiny'"))
    await forget(database, f"day_us = {day_us} AND model = 'tiny'")
    kept = await sums(database)
    await tie_last_days(database, LATER_US)
    assert "rows of it are missing" in caplog.text
    assert await sums(database) == kept
