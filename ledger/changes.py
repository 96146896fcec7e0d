"""The change log: every change that a worker must hear of appends one line; workers read what is new.

A follower asks for ids above the last it saw, so ids must become visible in their order. On SQLite there is
one writer. On PostgreSQL two transactions could commit in the other order than they drew their ids, so
appending takes a transaction lock that is held until the commit; changes are rare, and nothing on the hot
path appends.
"""

from sqlalchemy import func, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col, select

from ledger.direct import Connection
from ledger.tables.changes import Change

APPEND_LOCK = 0x6D67_0001  # any number that no other user of advisory locks in this database has

AT_ONCE_MAX = 10_000  # a follower further behind than this reads in several turns


async def append(session: AsyncSession, kind: str, subject_id: str, now_us: int) -> None:
    """Say that `subject_id` changed; `kind` is the noun and the verb, such as `key.revoked`."""
    if session.get_bind().dialect.name == "postgresql":
        await session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": APPEND_LOCK})
    session.add(Change(at_us=now_us, kind=kind, subject_id=subject_id))
    await session.flush()


async def latest(session: AsyncSession) -> int:
    """The id of the newest change; 0 when there is none."""
    return (await session.execute(select(func.max(Change.id)))).scalar_one() or 0


async def latest_id(connection: Connection) -> int:
    """As `latest`, for who has a connection in place of a session."""
    found = (await connection.exec_driver_sql("SELECT max(id) FROM change")).scalar_one()
    return int(found or 0)


async def has_kind(connection: Connection, kind: str, after_id: int) -> bool:
    """Whether there is a change of a kind (one of our own words) after `after_id`."""
    query = f"SELECT count(*) FROM change WHERE id > {int(after_id)} AND kind = '{kind}'"  # noqa: S608
    return bool((await connection.exec_driver_sql(query)).scalar_one())


async def since(session: AsyncSession, after_id: int) -> list[Change]:
    """The changes after `after_id`, the oldest first, at most AT_ONCE_MAX."""
    query = select(Change).where(col(Change.id) > after_id).order_by(col(Change.id)).limit(AT_ONCE_MAX)
    return list((await session.execute(query)).scalars())
