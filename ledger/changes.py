"""The change log: every change that a worker must hear of appends one line; workers read what is new.

A follower asks for ids above the last it saw, so ids must become visible in their order. On SQLite there is
one writer. On PostgreSQL two transactions could commit in the other order than they drew their ids, so
appending takes a transaction lock that is held until the commit; changes are rare, and nothing on the hot
path appends.
"""

from typing import TYPE_CHECKING, Final, NamedTuple

from ledger.direct import Connection
from ledger.given import Statement

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncSession

APPEND_LOCK: Final = 0x6D67_0001  # any number that no other user of advisory locks in this database has

AT_ONCE_MAX: Final = 10_000  # a follower further behind than this reads in several turns

_APPEND: Final = Statement(
    "INSERT INTO change (at_us, kind, subject_id) SELECT at_us, kind, subject_id FROM {given} WHERE true",
    {"at_us": "bigint", "kind": "varchar", "subject_id": "varchar"},
)


class Change(NamedTuple):
    """One line of the log: `kind` is the noun and the verb, such as `key.revoked`."""

    id: int
    at_us: int
    kind: str
    subject_id: str


async def append(session: "AsyncSession", kind: str, subject_id: str, now_us: int) -> None:
    """Say that `subject_id` changed, behind what the session has made so far."""
    await append_each(session, kind, [subject_id], now_us)


async def append_each(session: "AsyncSession", kind: str, subject_ids: "Sequence[str]", now_us: int) -> None:
    """As `append`, of any number of subjects."""
    await session.flush()
    await lock(session)
    if subject_ids:
        rows = [(now_us, kind, subject_id) for subject_id in subject_ids]
        await _APPEND.change(await session.connection(), rows)


async def lock(session: "AsyncSession") -> None:
    """Let nobody else append until this transaction ends. The audit log is chained under the same lock: with
    two, transactions that take them in different orders would wait for each other. For the same reason a
    transaction that changes several rows, which another may change one by one, takes it first of all.
    """
    connection = await session.connection()
    if connection.dialect.name == "postgresql":
        await connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({APPEND_LOCK})")


async def latest(connection: Connection) -> int:
    """The id of the newest change; 0 when there is none."""
    found = (await connection.exec_driver_sql("SELECT max(id) FROM change")).scalar_one()
    return int(found or 0)


async def has_kind(connection: Connection, kind: str, after_id: int) -> bool:
    """Whether there is a change of a kind (one of our own words) after `after_id`."""
    query = f"SELECT count(*) FROM change WHERE id > {int(after_id)} AND kind = '{kind}'"  # noqa: S608
    return bool((await connection.exec_driver_sql(query)).scalar_one())


async def since(connection: Connection, after_id: int) -> list[Change]:
    """The changes after `after_id`, the oldest first, at most AT_ONCE_MAX."""
    query = (
        "SELECT id, at_us, kind, subject_id FROM change"  # noqa: S608 (a number of ours)
        f" WHERE id > {int(after_id)} ORDER BY id LIMIT {AT_ONCE_MAX}"
    )
    return [Change(*row) for row in await connection.exec_driver_sql(query)]
