"""The lock on the book, against changes that a posting must not pass.

A posting reads prices and limits, and writes rows and sums by them. Who changes one of those, and looks at
what is posted already, must see every posting whole or not at all. On SQLite both are writers, and there is
one at a time; on PostgreSQL a posting shares the lock, and a change takes it alone, until its commit.
"""

from typing import TYPE_CHECKING

from ledger.direct import Connection

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

BOOK_LOCK = 0x6D67_0003


async def share(connection: Connection) -> None:
    """For posting: waits for a change under way."""
    if connection.dialect.name == "postgresql":
        await connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock_shared({BOOK_LOCK})")


async def take(session: "AsyncSession") -> None:
    """For a change of prices or limits: waits for every posting under way, and keeps the next out."""
    connection = await session.connection()
    if connection.dialect.name == "postgresql":
        await connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({BOOK_LOCK})")
