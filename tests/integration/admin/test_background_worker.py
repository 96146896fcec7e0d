"""The background worker on real databases: the months to come have their partitions, the dead no leases."""

import asyncio
import logging
from pathlib import Path

import pytest
from sqlalchemy import text

from admin import worker
from admin.config import AdminSettings
from admin.worker import BackgroundWorker
from ledger import leases
from ledger.database import Database
from ledger.lease_terms import Return, Wish
from ledger.limits import LimitKind
from ledger.periods import month_span
from tests.desks import a_limit
from tests.integration.ledger.balances import balance_of, key_of, register, turns
from tests.records import NOON_US


async def has(database: Database, table: str) -> bool:
    async with database.read() as session:
        found = await session.execute(text("SELECT to_regclass(:table)"), {"table": table})
        return found.scalar_one() is not None


@pytest.mark.postgres
async def test_it_makes_the_months_before_they_begin(
    postgresql_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Guards against a metergate that runs for half a year, and whose rows then all go to the default
    partition; and against a turn that fails once and for all.
    """
    monkeypatch.setattr(worker, "PARTITIONS_SECONDS", 0.01)
    clock = [month_span("2031-03")[0]]
    settings = AdminSettings(database_url=postgresql_url, data_dir=tmp_path)
    database = Database(postgresql_url)
    with caplog.at_level(logging.WARNING, "metergate.worker"):
        async with database.write() as session:
            await session.execute(text("ALTER TABLE usage RENAME TO away"))
        running = asyncio.create_task(BackgroundWorker(settings, lambda: clock[0]).run())
        try:
            async with asyncio.timeout(30):
                while "the monthly partitions" not in caplog.text:
                    await asyncio.sleep(0.01)
                async with database.write() as session:
                    await session.execute(text("ALTER TABLE away RENAME TO usage"))
                for month, last in (("2031-03", "usage_2031_06"), ("2031-05", "usage_2031_08")):
                    clock[0] = month_span(month)[0]
                    while not await has(database, last):
                        await asyncio.sleep(0.01)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await database.close()


async def test_it_takes_from_the_dead_what_nobody_comes_for(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Guards against balances that show for ever what a host held that is gone, and rows of it that stay; and
    against a living worker's that go with them. Said once for each worker that is gone.
    """
    monkeypatch.setattr(worker, "DEAD_HOLDERS_AT_ONCE", 1)
    settings = AdminSettings(database_url=database_url, data_dir=tmp_path)
    database = Database(database_url)
    key = key_of(await a_limit(database, LimitKind.TOKENS, 1000))
    dead, live = [await register(database, number) for number in (3, 4, 5)], await register(database, 9)
    for holder in (*dead, live):
        await database.transact(
            lambda connection, of=holder: leases.exchange(
                connection, of, [Wish(key, 10, 10)], [], NOON_US, next(turns)
            )
        )
    async with database.write() as session:
        await session.execute(
            text("UPDATE lease_holder SET seen_us = seen_us - :by WHERE worker < 9"),
            {"by": int(leases.LEASES_LOST_S * 1_000_000) + 1_000},
        )
    with caplog.at_level(logging.WARNING, "metergate.worker"):
        running = asyncio.create_task(BackgroundWorker(settings, lambda: NOON_US).run())
        try:
            async with asyncio.timeout(30):
                while caplog.text.count("its leases went back") < 3:
                    await asyncio.sleep(0.01)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
    assert await balance_of(database, key) == (0, 10)
    assert sorted(record.args[0] for record in caplog.records if record.args) == [3, 4, 5]
    await database.transact(
        lambda connection: leases.exchange(connection, live, [], [Return(key, 10)], NOON_US, next(turns))
    )
    assert await balance_of(database, key) == (0, 0)
    await database.close()
