"""Posting: the only writer of usage rows and rollups, and of what of a limit is used.

A batch of records becomes usage rows, hourly rollups, keys' times of last use and moves on the limits'
balances (ledger/moves.py) in the caller's one transaction. Whatever is delivered again adds nothing: only
rows that this transaction inserted reach the rollups and the balances. So records may be posted any number of
times, in any order, from any number of hosts, and the sums come out the same.

Statements are written by hand and handed to the driver as they are: this runs once for every call, and the
object layer would cost more than the databases do. Rows are tuples in the order of the table's columns.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from sqlalchemy import Table as SqlTable
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from ledger import book_lock, moves
from ledger.errors import DatabaseUnusable
from ledger.money import rate
from ledger.moves import Caller, Use
from ledger.prices import PriceBook, rates_of
from ledger.record import CallRecord, Charge, Entry
from ledger.tables import Table
from ledger.usage import UsageSource

HOUR_US = 3_600_000_000
BATCH_RECORDS_MAX = 1000  # one transaction: about 20 ms of work, and a few hundred KiB of parameters

USAGE: SqlTable = Table.metadata.tables["usage"]
USAGE_HOUR: SqlTable = Table.metadata.tables["usage_hour"]
TOO_LARGE = "an hour's amount passes 9.2 million units of currency, which SQLite cannot hold; use PostgreSQL"
_SUMS = ("calls", "prompt_tokens", "cached_prompt_tokens", "completion_tokens", "amount_picos")


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


async def post(
    session: AsyncSession, entries: Sequence[Entry], price_book: PriceBook, now_us: int
) -> PostResult:
    """Post journal entries, at most BATCH_RECORDS_MAX of them. Raises DatabaseUnusable for a sum that cannot
    be held.

    An end of a holder takes effect after the records of the batch. The caller commits, and tells the journal
    only after that.
    """
    assert len(entries) <= BATCH_RECORDS_MAX, len(entries)
    connection = await session.connection()
    is_postgresql = connection.dialect.name == "postgresql"
    await book_lock.share(session)
    await price_book.refresh(session)
    rows: dict[str, tuple[Any, ...]] = {}
    charged: dict[str, CallRecord] = {}
    ended: list[str] = []
    for entry in entries:
        if not isinstance(entry, CallRecord):
            ended.append(entry.holder_id)
        elif entry.request_id not in rows:
            rows[entry.request_id] = _usage_row(entry, price_book, now_us)
            if entry.charges:
                charged[entry.request_id] = entry
    try:
        insert = _insert_postgresql if is_postgresql else _insert_sqlite
        fresh = await insert(connection, rows) if rows else []
        if fresh:
            await _add_to_rollups(connection, _rollups(fresh), is_postgresql)
            await _mark_used(connection, fresh, is_postgresql)
        limits = await moves.consumable_limits(connection, {_owner_of(row) for row in fresh})
        if limits or ended:
            uses = _uses(fresh) if limits else {}
            await moves.move(connection, limits, uses, _charges(fresh, charged), set(ended), now_us)
    except (OverflowError, IntegrityError) as error:
        raise DatabaseUnusable(f"cannot post: {TOO_LARGE if not is_postgresql else error}") from error
    unpriced = sum(1 for row in fresh if row[_PRICE_VERSION_ID] is None)
    return PostResult(len(fresh), len(entries) - len(ended) - len(fresh), unpriced, len(ended))


def _usage_row(record: CallRecord, price_book: PriceBook, now_us: int) -> tuple[Any, ...]:
    """The columns of `usage` in their order (tests/integration/ledger/test_posting.py holds it to that)."""
    price = price_book.in_force(record.model, record.tenant_id, record.started_us)
    is_known = (
        record.usage_source is not UsageSource.UNRESOLVED
    )  # else not even the price of a request is due
    return (
        record.request_id,
        record.started_us,
        record.ended_us,
        record.first_byte_us,
        record.tenant_id,
        record.project_id,
        record.api_key_id,
        record.model,
        record.backend,
        record.endpoint,
        record.streamed,
        record.ending.value,
        record.http_status,
        record.usage_source.value,
        record.prompt_tokens,
        record.cached_prompt_tokens,
        record.completion_tokens,
        0 if price is None or not is_known else rate(record.usage, rates_of(price)),
        price_book.currency if price is None else price.currency,
        None if price is None else price.id,
        now_us,
        record.end_user,
        record.choices_per_prompt,
    )


_COLUMNS = [column.name for column in USAGE.columns]
_REQUEST_ID = _COLUMNS.index("request_id")
_STARTED_US = _COLUMNS.index("started_us")
_API_KEY_ID = _COLUMNS.index("api_key_id")
_PRICE_VERSION_ID = _COLUMNS.index("price_version_id")
_group_of = itemgetter(
    *(
        _COLUMNS.index(name)
        for name in ("tenant_id", "project_id", "api_key_id", "model", "endpoint", "currency", "usage_source")
    )
)
_owner_of = itemgetter(*(_COLUMNS.index(name) for name in ("tenant_id", "project_id", "api_key_id")))
_caller_of = itemgetter(
    *(_COLUMNS.index(name) for name in ("tenant_id", "project_id", "api_key_id", "model", "end_user"))
)
_summed_of = itemgetter(*(_COLUMNS.index(name) for name in _SUMS[1:]))


def _rollups(rows: Iterable[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """The rows' sums for each hour and group, in the order of the key: posters of two hosts then lock in one
    order.
    """
    sums: dict[tuple[Any, ...], list[int]] = {}
    for row in rows:
        key = (row[_STARTED_US] // HOUR_US, *_group_of(row))
        prompt, cached, completion, picos = _summed_of(row)
        entry = sums.get(key)
        if entry is None:
            sums[key] = [1, prompt, cached, completion, picos]
        else:
            entry[0] += 1
            entry[1] += prompt
            entry[2] += cached
            entry[3] += completion
            entry[4] += picos
    return [(hour * HOUR_US, *group, *sums[hour, *group]) for hour, *group in sorted(sums)]


def _uses(rows: Iterable[tuple[Any, ...]]) -> dict[Caller, Use]:
    """What the rows used, of all that the same limits hold for together."""
    sums: dict[tuple[Any, ...], list[int]] = {}
    for row in rows:
        key = (*_caller_of(row), row[_STARTED_US] // HOUR_US)
        prompt, _, completion, picos = _summed_of(row)
        entry = sums.get(key)
        if entry is None:
            sums[key] = [1, prompt + completion, picos]
        else:
            entry[0] += 1
            entry[1] += prompt + completion
            entry[2] += picos
    return {Caller._make((*key[:-1], key[-1] * HOUR_US)): Use._make(sums[key]) for key in sums}


def _charges(rows: Iterable[tuple[Any, ...]], charged: dict[str, CallRecord]) -> list[tuple[str, Charge]]:
    """What the calls of these rows take from their workers' leases."""
    if not charged:
        return []
    records = (charged.get(row[_REQUEST_ID]) for row in rows)
    return [(record.holder_id, charge) for record in records if record for charge in record.charges]


def _named(table: SqlTable) -> str:
    return ", ".join(column.name for column in table.columns)


def _marks(table: SqlTable) -> str:
    return ", ".join("?" for _ in table.columns)


def _arrays(table: SqlTable) -> str:
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    types = (column.type.dialect_impl(dialect).compile(dialect=dialect) for column in table.columns)
    return ", ".join(f"${place}::{kind.split(' COLLATE')[0]}[]" for place, kind in enumerate(types, 1))


# Built once from the tables' own column names: nothing from outside is in them.
_UPSERT = (
    f" ON CONFLICT ({', '.join(column.name for column in USAGE_HOUR.primary_key.columns)}) DO UPDATE SET "
    + ", ".join(f"{name} = usage_hour.{name} + excluded.{name}" for name in _SUMS)
)
_SQLITE_KNOWN = "SELECT request_id FROM usage WHERE request_id IN (SELECT value FROM json_each(?))"
_SQLITE_INSERT = f"INSERT INTO usage ({_named(USAGE)}) VALUES ({_marks(USAGE)})"  # noqa: S608
_SQLITE_ADD = (
    f"INSERT INTO usage_hour ({_named(USAGE_HOUR)})"  # noqa: S608
    f" VALUES ({_marks(USAGE_HOUR)}){_UPSERT}"
)
_SQLITE_USED = (
    "UPDATE api_key SET last_used_us = ?1 WHERE id = ?2 AND (last_used_us IS NULL OR last_used_us < ?1)"
)
_POSTGRESQL_INSERT = (
    f"INSERT INTO usage ({_named(USAGE)}) SELECT * FROM unnest({_arrays(USAGE)})"  # noqa: S608
    " ON CONFLICT (request_id) DO NOTHING RETURNING request_id"
)
_POSTGRESQL_ADD = (
    f"INSERT INTO usage_hour ({_named(USAGE_HOUR)})"  # noqa: S608
    f" SELECT * FROM unnest({_arrays(USAGE_HOUR)}){_UPSERT}"
)
_POSTGRESQL_USED = (
    "UPDATE api_key SET last_used_us = used.at_us"
    " FROM unnest($1::bigint[], $2::varchar[]) AS used(at_us, id)"
    " WHERE api_key.id = used.id AND (last_used_us IS NULL OR last_used_us < used.at_us)"
)


async def _insert_sqlite(
    connection: AsyncConnection, rows: dict[str, tuple[Any, ...]]
) -> list[tuple[Any, ...]]:
    """There is one writer at a time, and it is us: what is not there now will not be there a moment later."""
    result = await connection.exec_driver_sql(_SQLITE_KNOWN, (json.dumps(list(rows)),))
    known = {request_id for (request_id,) in result}
    fresh = [row for request_id, row in rows.items() if request_id not in known]
    if fresh:
        await connection.exec_driver_sql(_SQLITE_INSERT, fresh)
    return fresh


async def _insert_postgresql(
    connection: AsyncConnection, rows: dict[str, tuple[Any, ...]]
) -> list[tuple[Any, ...]]:
    """In the order of the key, so that two hosts with the same record wait for each other and never
    deadlock.
    """
    if not rows:
        return []
    ordered = [rows[request_id] for request_id in sorted(rows)]
    result = await connection.exec_driver_sql(_POSTGRESQL_INSERT, _transposed(ordered))
    return [rows[request_id] for (request_id,) in result]


async def _add_to_rollups(
    connection: AsyncConnection, sums: list[tuple[Any, ...]], is_postgresql: bool
) -> None:
    if is_postgresql:
        await connection.exec_driver_sql(_POSTGRESQL_ADD, _transposed(sums))
    else:
        await connection.exec_driver_sql(_SQLITE_ADD, sums)


async def _mark_used(
    connection: AsyncConnection, rows: Iterable[tuple[Any, ...]], is_postgresql: bool
) -> None:
    """A key's last use, off the hot path: the start of its latest posted call."""
    latest: dict[str, int] = {}
    for row in rows:
        key_id = row[_API_KEY_ID]
        latest[key_id] = max(row[_STARTED_US], latest.get(key_id, 0))
    used = [(latest[key_id], key_id) for key_id in sorted(latest)]
    if is_postgresql:
        await connection.exec_driver_sql(_POSTGRESQL_USED, _transposed(used))
    else:
        await connection.exec_driver_sql(_SQLITE_USED, used)


def _transposed(rows: Sequence[tuple[Any, ...]]) -> tuple[list[Any], ...]:
    """Rows as arrays of columns, which is how unnest takes them."""
    return tuple(list(column) for column in zip(*rows, strict=True))
