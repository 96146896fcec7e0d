"""Posting: the only writer of usage rows and rollups, and of what of a limit is used.

A batch of records becomes usage rows, rollups by hour and day, keys' times of last use and moves on the
limits' balances (ledger/moves.py) in the caller's one transaction. Whatever is delivered again adds nothing:
only rows that this transaction inserted reach the rollups and the balances. So records may be posted any
number of times, in any order, from any number of hosts, and the sums come out the same.

Statements are written by hand and handed to the driver as they are: this runs once for every call, and the
object layer would cost more than the databases do. Rows are tuples in the order of the table's columns.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from ledger import book_lock, moves
from ledger.direct import Connection, is_broken_constraint
from ledger.errors import DatabaseUnusable
from ledger.lease_terms import BalanceKey
from ledger.rated import RatedCalls, Row, rated
from ledger.record import CallRecord, Entry
from ledger.terms import Terms
from ledger.usage_columns import (
    COUNTS,
    DAY_KEY,
    HOUR_KEY,
    PROJECT_DAY,
    PROJECT_DAY_KEY,
    PROJECT_HOUR,
    PROJECT_HOUR_KEY,
    SUMS,
    USAGE,
    USAGE_DAY,
    USAGE_HOUR,
)

BATCH_RECORDS_MAX = 1000  # one transaction: about 20 ms of work, and a few hundred KiB of parameters

TOO_LARGE = "an hour's amount passes 9.2 million units of currency, which SQLite cannot hold; use PostgreSQL"


@dataclass(frozen=True, slots=True)
class PostResult:
    """How many records became rows, how many had been rows before, how many of the new ones have no price,
    and how many ends of holders there were.
    """

    inserted: int
    duplicates: int
    unpriced: int = 0
    ended: int = 0

    def __add__(self, other: "PostResult") -> "PostResult":
        """Two postings together."""
        return PostResult(
            self.inserted + other.inserted,
            self.duplicates + other.duplicates,
            self.unpriced + other.unpriced,
            self.ended + other.ended,
        )


NOTHING_POSTED = PostResult(0, 0)


async def post(connection: Connection, entries: Sequence[Entry], terms: Terms, now_us: int) -> PostResult:
    """Post journal entries, at most BATCH_RECORDS_MAX of them. Raises DatabaseUnusable for a sum that cannot
    be held.

    An end of a holder takes effect after the records of the batch. The caller commits, and tells the journal
    only after that.
    """
    assert len(entries) <= BATCH_RECORDS_MAX, len(entries)
    await book_lock.share(connection)
    await terms.refresh(connection)
    records: dict[str, CallRecord] = {}
    ended: list[str] = []
    for entry in entries:
        if isinstance(entry, CallRecord):
            records.setdefault(entry.request_id, entry)
        else:
            ended.append(entry.holder_id)
    try:
        calls = await _insert(connection, records, terms, now_us)
        if calls.rows:
            await _add_to_rollups(connection, calls)
            await _mark_used(connection, calls)
        limits = await terms.consumable_limits(connection, calls.owners())
        if ended or any(limits.values()):
            charges = _charges(records[row[_REQUEST_ID]] for row in calls.rows)
            await moves.move(connection, limits, calls.uses(), charges, set(ended), now_us)
    except Exception as error:
        if isinstance(error, OverflowError) or is_broken_constraint(error):
            reason = error if _is_postgresql(connection) else TOO_LARGE
            raise DatabaseUnusable(f"cannot post: {reason}") from error
        raise
    inserted = len(calls.rows)
    return PostResult(inserted, len(entries) - len(ended) - inserted, calls.unpriced, len(ended))


async def _insert(
    connection: Connection, records: dict[str, CallRecord], terms: Terms, now_us: int
) -> RatedCalls:
    """Insert what is not there yet; the calls that this inserted. Nearly always it is all of them."""
    calls = rated(records.values(), terms.prices, now_us)
    if not calls.rows:
        return calls
    insert = _insert_postgresql if _is_postgresql(connection) else _insert_sqlite
    fresh = await insert(connection, calls.rows)
    return calls if fresh is None else rated((records[key] for key in fresh), terms.prices, now_us)


def _charges(records: Iterable[CallRecord]) -> dict[tuple[str, BalanceKey], int]:
    """What the calls take from their workers' leases, by holder."""
    sums: dict[tuple[str, str, str, int], int] = {}
    for record in records:
        for charge in record.charges:
            key = (record.holder_id, charge.limit_id, charge.end_user, charge.window_us)
            sums[key] = sums.get(key, 0) + charge.amount
    return {(holder_id, BalanceKey._make(key)): amount for (holder_id, *key), amount in sums.items()}


_REQUEST_ID = list(USAGE).index("request_id")
_request_id_of = itemgetter(_REQUEST_ID)


def _is_postgresql(connection: Connection) -> bool:
    return connection.dialect.name == "postgresql"


def _marks(columns: Mapping[str, str]) -> str:
    return ", ".join("?" for _ in columns)


def _arrays(columns: Mapping[str, str]) -> str:
    """The columns as parameters. Picos travel as text: the driver makes a Decimal of each integer that it is
    to send as a numeric, which costs as much as a whole row.
    """
    return ", ".join(
        f"${place}::{'text[]::' if name == 'amount_picos' else ''}{kind}[]"
        for place, (name, kind) in enumerate(columns.items(), 1)
    )


# Built once from the tables' own column names: nothing from outside is in them.
def _adding(table: str, key: Mapping[str, str], sums: Mapping[str, str]) -> dict[str, str]:
    """The statement that adds rows to a rollup, by the kind of database."""
    columns = {**key, **sums}
    into = f"INSERT INTO {table} ({', '.join(columns)})"
    adds = f" ON CONFLICT ({', '.join(key)}) DO UPDATE SET " + ", ".join(
        f"{name} = {table}.{name} + excluded.{name}" for name in sums
    )
    return {
        "sqlite": f"{into} VALUES ({_marks(columns)}){adds}",
        "postgresql": f"{into} SELECT * FROM unnest({_arrays(columns)}){adds}",  # noqa: S608
    }


_HOURS = _adding("usage_hour", HOUR_KEY, SUMS)
_PROJECT_HOURS = _adding("project_hour", PROJECT_HOUR_KEY, COUNTS)
_DAYS = _adding("usage_day", DAY_KEY, COUNTS)
_PROJECT_DAYS = _adding("project_day", PROJECT_DAY_KEY, COUNTS)
_SQLITE_LAST = "SELECT coalesce(max(rowid), 0) FROM usage"
_SQLITE_INSERT = (
    f"INSERT INTO usage ({', '.join(USAGE)}) VALUES ({_marks(USAGE)})"  # noqa: S608
    " ON CONFLICT (request_id) DO NOTHING"
)
_SQLITE_FRESH = "SELECT request_id FROM usage WHERE rowid > ?"
_SQLITE_USED = (
    "UPDATE api_key SET last_used_us = ?1 WHERE id = ?2 AND (last_used_us IS NULL OR last_used_us < ?1)"
)
_POSTGRESQL_INSERT = (
    f"WITH fresh AS (INSERT INTO usage ({', '.join(USAGE)}) SELECT * FROM unnest({_arrays(USAGE)})"  # noqa: S608
    " ON CONFLICT (request_id) DO NOTHING RETURNING request_id)"
    f" SELECT count(*), CASE WHEN count(*) < ${len(USAGE) + 1}::bigint THEN array_agg(request_id) END"
    " FROM fresh"
)
_POSTGRESQL_USED = (
    "UPDATE api_key SET last_used_us = used.at_us"
    " FROM unnest($1::bigint[], $2::varchar[]) AS used(at_us, id)"
    " WHERE api_key.id = used.id AND (last_used_us IS NULL OR last_used_us < used.at_us)"
)


async def _insert_sqlite(connection: Connection, rows: list[Row]) -> list[str] | None:
    """The ids of the rows that were not there; None where none of them was.

    There is one writer at a time, and it is us: what has come behind the last row is ours.
    """
    last = (await connection.exec_driver_sql(_SQLITE_LAST)).scalar_one()
    if (await connection.exec_driver_sql(_SQLITE_INSERT, rows)).rowcount == len(rows):
        return None
    return [request_id for (request_id,) in await connection.exec_driver_sql(_SQLITE_FRESH, (last,))]


async def _insert_postgresql(connection: Connection, rows: list[Row]) -> list[str] | None:
    """As on SQLite. In the order of the key, so that two hosts with the same record wait for each other and
    never deadlock.
    """
    rows.sort(key=_request_id_of)
    found = await connection.exec_driver_sql(_POSTGRESQL_INSERT, (*_transposed(rows, USAGE), len(rows)))
    ((inserted, fresh),) = found.all()
    return None if inserted == len(rows) else fresh or []


async def _add_to_rollups(connection: Connection, calls: RatedCalls) -> None:
    """In one order of tables and of rows, so that two hosts wait for each other and never deadlock."""
    hours, days = calls.hours(), calls.days()
    for statements, rows, columns in (
        (_HOURS, hours, USAGE_HOUR),
        (_PROJECT_HOURS, calls.project_hours(hours), PROJECT_HOUR),
        (_DAYS, days, USAGE_DAY),
        (_PROJECT_DAYS, calls.project_days(days), PROJECT_DAY),
    ):
        statement = statements[connection.dialect.name]
        given = _transposed(rows, columns) if _is_postgresql(connection) else rows
        await connection.exec_driver_sql(statement, given)


async def _mark_used(connection: Connection, calls: RatedCalls) -> None:
    """A key's last use, off the hot path: the start of its latest posted call."""
    if _is_postgresql(connection):
        starts, key_ids = zip(*calls.last_used(), strict=True)
        await connection.exec_driver_sql(_POSTGRESQL_USED, (starts, key_ids))
    else:
        await connection.exec_driver_sql(_SQLITE_USED, calls.last_used())


def _transposed(rows: Sequence[Row], columns: Mapping[str, str]) -> tuple[Sequence[Any], ...]:
    """Rows as arrays of columns, which is how unnest takes them."""
    arrays: list[Sequence[Any]] = list(zip(*rows, strict=True))
    if "amount_picos" in columns:
        picos = list(columns).index("amount_picos")
        arrays[picos] = [str(amount) for amount in arrays[picos]]
    return tuple(arrays)
