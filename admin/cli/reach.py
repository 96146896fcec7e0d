"""The way from a command of the server itself to the ledger's database: checked schema, closed at the end.

Heavy to import (SQLAlchemy): commands import it when they run.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

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
