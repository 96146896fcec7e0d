"""The way from a command to the ledger's database: one session, checked schema, closed at the end.

Heavy to import (SQLAlchemy): commands import it when they run.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from sqlalchemy.ext.asyncio import AsyncSession

from admin.cli.command import now_us
from ledger.database import Database
from ledger.settings import LedgerSettings

T = TypeVar("T")


def with_database(settings: LedgerSettings, work: Callable[[Database], Awaitable[T]]) -> T:
    """Runs `work` with an open database whose schema fits. Raises LedgerError."""

    async def run() -> T:
        database = Database(settings.database_url)
        try:
            await database.check()
            return await work(database)
        finally:
            await database.close()

    return asyncio.run(run())


def read(settings: LedgerSettings, work: Callable[[AsyncSession], Awaitable[T]]) -> T:
    """Runs `work` on one snapshot. Raises LedgerError."""

    async def run(database: Database) -> T:
        async with database.read() as session:
            return await work(session)

    return with_database(settings, run)


def write(settings: LedgerSettings, work: Callable[[AsyncSession, LedgerSettings, int], Awaitable[T]]) -> T:
    """Runs `work` in one transaction, with the time it began. Raises LedgerError."""

    async def run(database: Database) -> T:
        async with database.write() as session:
            return await work(session, settings, now_us())

    return with_database(settings, run)
