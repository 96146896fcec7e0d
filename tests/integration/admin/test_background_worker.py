"""The background worker on a real PostgreSQL: the months to come have their partitions."""

import asyncio
import logging
from pathlib import Path

import pytest
from sqlalchemy import text

from admin import worker
from admin.config import AdminSettings
from admin.worker import BackgroundWorker
from ledger.database import Database
from ledger.periods import month_span

pytestmark = pytest.mark.postgres


async def has(database: Database, table: str) -> bool:
    async with database.read() as session:
        found = await session.execute(text("SELECT to_regclass(:table)"), {"table": table})
        return found.scalar_one() is not None


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
