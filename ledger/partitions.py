"""The monthly partitions of `usage` on PostgreSQL: which there are, and making those to come.

A partition holds a UTC month by the time in the request id, `usage_2026_11`; `usage_default` holds what no
month is there for, so that a posting never fails for want of one. Rules:

- Making is idempotent and goes on beside postings and reports: a table is made on its own and then attached,
  which waits for nobody but users of the default partition, and for them LOCK_MS at most.
- Rows that are in the default partition of a month that is made move with it, in the same transaction.
- A table that has the name of a partition and is attached to nothing was detached by an operator: it is left
  alone, and said.

SQLite has no partitions: there is nothing to make, and everything here says so by doing nothing.
"""

import logging
import re

from sqlalchemy import ColumnElement, Connection, SQLColumnExpression, text
from sqlalchemy.ext.asyncio import AsyncSession

from ledger.errors import DatabaseUnusable
from ledger.ids import id_at, id_time_us
from ledger.periods import DAY_US, month_span_at
from ledger.periods import from_us as instant

PARTITION_LOCK = 0x6D67_0004  # PostgreSQL's advisory lock that lets one maker run at a time
LOCK_MS = 2_000  # postings that need the default partition wait behind us for as long
MONTHS_AHEAD = 3  # a worker that is away for a quarter costs nothing but rows to move
PARENT = "usage"
DEFAULT = "usage_default"

_NAME = re.compile(r"usage_(\d{4}_\d{2}|default)")
_log = logging.getLogger("metergate.partitions")


async def ensure_partitions(
    session: AsyncSession, now_us: int, months_ahead: int = MONTHS_AHEAD
) -> list[str]:
    """Make the partitions of this month, of the months ahead, and of months that the default partition has
    rows of; the names of the new ones. The caller commits.

    Raises DatabaseUnusable where this user of the database may not make them, and the DatabaseFault of a lock
    that is not to be had.
    """
    return await (await session.connection()).run_sync(make_partitions, now_us, months_ahead)


def made_between(
    request_id: SQLColumnExpression[str], from_us: int | None, until_us: int | None
) -> list[ColumnElement[bool]]:
    """Conditions on the key that calls which started in [from_us, until_us) fulfil, so that PostgreSQL looks
    into those months' partitions alone.

    An id is made when a request's head has come, and the start is taken on the same host's clock once its
    body has: between the two are milliseconds, and never more than the time that a client is given to send
    a body. A day of margin on both sides covers that and a clock that is set meanwhile, and costs a look into
    a neighbouring month at most.
    """
    conditions = []
    if from_us is not None:
        conditions.append(request_id >= id_at(max(0, from_us - DAY_US)))
    if until_us is not None:
        conditions.append(request_id < id_at(max(0, until_us + DAY_US)))
    return conditions


def make_partitions(connection: Connection, now_us: int, months_ahead: int = MONTHS_AHEAD) -> list[str]:
    """As ensure_partitions, for who has a connection in place of a session."""
    if connection.dialect.name != "postgresql":
        return []
    connection.execute(text(f"SET LOCAL lock_timeout = {LOCK_MS}"))
    # Before anything is looked at: two that have both looked would wait for each other's locks.
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": PARTITION_LOCK})
    wanted = [month_span_at(now_us)]
    while len(wanted) <= months_ahead:
        wanted.append(month_span_at(wanted[-1][1]))
    lacking = _lacking(connection, [*months_of(connection, DEFAULT), *wanted])
    if lacking:
        _check_owner(connection)
    made = []
    for begin_us, end_us in lacking:
        name = partition_name(begin_us)
        if connection.execute(text("SELECT to_regclass(:name)"), {"name": name}).scalar_one() is not None:
            _log.warning("the table %s is no partition of usage: its rows go to %s", name, DEFAULT)
            continue
        _make(connection, name, id_at(begin_us), id_at(end_us))
        made.append(name)
    return made


def partition_name(month_us: int) -> str:
    """The partition of the UTC month that an instant is in."""
    return f"{PARENT}_{instant(month_us):%Y_%m}"


def is_partition(table: str | None) -> bool:
    """Whether a table of this name is a partition, which is no table of the ledger's own."""
    return _NAME.fullmatch(table or "") is not None


def _make(connection: Connection, name: str, begin: str, end: str) -> None:
    """One partition, from id to id. Both are made of digits here, as the name is: nothing is from outside."""
    connection.execute(text(f"CREATE TABLE {name} (LIKE {PARENT} INCLUDING DEFAULTS INCLUDING CONSTRAINTS)"))
    # Attaching would take this lock too; taken before the rows are looked for, none can slip in between.
    connection.execute(text(f"LOCK TABLE {DEFAULT} IN ACCESS EXCLUSIVE MODE"))
    moved = connection.execute(
        text(
            f"WITH moved AS (DELETE FROM {DEFAULT} WHERE request_id >= :begin AND request_id < :end"  # noqa: S608
            f" RETURNING *) INSERT INTO {name} SELECT * FROM moved"
        ),
        {"begin": begin, "end": end},
    ).rowcount
    connection.execute(
        text(f"ALTER TABLE {PARENT} ATTACH PARTITION {name} FOR VALUES FROM ('{begin}') TO ('{end}')")
    )
    if moved:
        _log.warning("%d rows moved from %s to %s: their month had no partition", moved, DEFAULT, name)


def _lacking(connection: Connection, months: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Those of the months, each once, that have no partition."""
    attached = connection.execute(
        text("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = to_regclass(:parent)"),
        {"parent": PARENT},
    )
    there = {name.rpartition(".")[2] for (name,) in attached}
    return [month for month in dict.fromkeys(months) if partition_name(month[0]) not in there]


def months_of(connection: Connection, table: str) -> list[tuple[int, int]]:
    """The spans of the months that a table has rows of, by their ids; ids that tell no time are left out."""
    query = text(
        f"SELECT min(request_id) FROM {table} WHERE request_id >= :from_id AND request_id < 'reqa'"  # noqa: S608
    )
    months: list[tuple[int, int]] = []
    from_id = id_at(0)
    while (found := connection.execute(query, {"from_id": from_id}).scalar_one()) is not None:
        at_us = id_time_us(found)
        if at_us is None:
            from_id = found + "\x01"
            continue
        months.append(month_span_at(at_us))
        from_id = id_at(months[-1][1])
    return months


def is_detached(connection: Connection, month_us: int) -> bool:
    """Whether no partition holds the month that begins then, and the default one has nothing of it."""
    if connection.dialect.name != "postgresql":
        return False
    month = month_span_at(month_us)
    return bool(_lacking(connection, [month])) and month not in months_of(connection, DEFAULT)


def _check_owner(connection: Connection) -> None:
    owns = connection.execute(
        text("SELECT pg_has_role(relowner, 'USAGE') FROM pg_class WHERE oid = to_regclass(:parent)"),
        {"parent": PARENT},
    ).scalar_one()
    if not owns:
        raise DatabaseUnusable(
            "only the owner of the table usage can make its monthly partitions: "
            "run `metergate db upgrade` as the owner, at least once in three months"
        )
