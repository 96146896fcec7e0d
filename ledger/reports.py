"""Reads: totals and days from the rollups, rows in pages.

Sums are exact: PostgreSQL adds in NUMERIC, SQLite adds high and low parts, since its SUM fails past 64 bits.
Amounts of different currencies are never added. Rollups are of whole hours, so their spans begin and end on
hours (UTC).
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import ColumnElement, FromClause, Row, Select, String, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator

from ledger.errors import Refused
from ledger.partitions import made_between
from ledger.periods import DAY_US, HOUR_US
from ledger.tables import Table
from ledger.totals import Grouping, KeyLabel, UsageFilter, UsageTotal

__all__ = [
    "Grouping",
    "UsageFilter",
    "UsageLine",
    "UsageTotal",
    "daily",
    "usage_page",
    "usage_rows",
    "usage_totals",
]

PAGE_ROWS = 1000

# One call as the table `usage` has it: attributes are its columns' names; and `api_key_name`, `api_key_tags`.
UsageLine = Row[Any]

_ROWS = Table.metadata.tables["usage"]
_HOURS = Table.metadata.tables["usage_hour"]
_KEYS = Table.metadata.tables["api_key"]
_KEY_LABEL = (_KEYS.c.name.label("api_key_name"), _KEYS.c.tags.label("api_key_tags"))
_SPLIT = 10**9  # a high part stays under 2**34: four billion rows can be added before a sum of them fails


async def usage_totals(
    session: AsyncSession, wanted: UsageFilter, by: Sequence[Grouping] = ()
) -> list[UsageTotal]:
    """One total for each currency, and for each value of the groupings `by`, in their order.

    Raises Refused for a span that does not begin and end on an hour.
    """
    return [_total(row, None, by) for row in await session.execute(_sums(wanted, None, by))]


async def daily(session: AsyncSession, wanted: UsageFilter, by: Sequence[Grouping] = ()) -> list[UsageTotal]:
    """As usage_totals, for each UTC day, the oldest first; with what keys are called, where it is by key."""
    day = (_HOURS.c.hour_us - _HOURS.c.hour_us % DAY_US).label("day_us")
    totals = [_total(row, row.day_us, by) for row in await session.execute(_sums(wanted, day, by))]
    if "api_key_id" not in by:
        return totals
    place = by.index("api_key_id")
    labels = await _labels(session, sorted({total.group[place] for total in totals}))
    return [replace(total, key=labels.get(total.group[place])) for total in totals]


async def usage_rows(
    session: AsyncSession, wanted: UsageFilter, page_rows: int = PAGE_ROWS
) -> AsyncIterator[UsageLine]:
    """Every row that matches, by its start and then its id, with what its key is called now; read in pages,
    each after the last of the one before.
    """
    last: UsageLine | None = None
    while True:
        rows = await usage_page(session, wanted, last, page_rows)
        for row in rows:
            yield row
        if len(rows) < page_rows:
            return
        last = rows[-1]


async def usage_page(
    session: AsyncSession, wanted: UsageFilter, after: UsageLine | None = None, page_rows: int = PAGE_ROWS
) -> Sequence[UsageLine]:
    """So many rows at the most, behind that one: for who keeps no session open meanwhile."""
    if after is not None:  # SQLite goes to the first of the span, whatever place a row's comparison names
        wanted = replace(wanted, from_us=after.started_us)
    query = _filtered(select(_ROWS, *_KEY_LABEL), _ROWS, wanted, _ROWS.c.started_us)
    query = query.outerjoin(_KEYS, _KEYS.c.id == _ROWS.c.api_key_id)
    if session.get_bind().dialect.name == "postgresql":
        query = query.where(*made_between(_ROWS.c.request_id, wanted.from_us, wanted.until_us))
    if after is not None:
        place = tuple_(_ROWS.c.started_us, _ROWS.c.request_id)
        query = query.where(place > tuple_(after.started_us, after.request_id))
    query = query.order_by(_ROWS.c.started_us, _ROWS.c.request_id).limit(page_rows)
    rows: Sequence[UsageLine] = (await session.execute(query)).all()
    return rows


class ExactSum(FunctionElement[int]):
    """The exact sum of a column of integers, 0 over no rows."""

    inherit_cache = True
    name = "exact_sum"

    class Parts(TypeDecorator[int]):
        """What the databases give for it, as an integer."""

        impl = String
        cache_ok = True

        def process_result_value(self, value: Any, dialect: Any) -> int:
            """SQLite gives "high:low", PostgreSQL the digits."""
            high, _, low = value.rpartition(":")
            return int(high or 0) * _SPLIT + int(low)

    type = Parts()


@compiles(ExactSum, "sqlite")
def _sqlite_sum(element: ExactSum, compiler: Any, **kw: Any) -> str:
    column = compiler.process(element.clauses, **kw)
    # Both / and % go towards zero, so the parts of a negative amount are both negative and add up as well.
    return f"coalesce(sum({column} / {_SPLIT}) || ':' || sum({column} % {_SPLIT}), '0')"


@compiles(ExactSum)
def _numeric_sum(element: ExactSum, compiler: Any, **kw: Any) -> str:
    return f"CAST(coalesce(sum({compiler.process(element.clauses, **kw)}), 0) AS TEXT)"


_SUMMED = ("calls", "prompt_tokens", "cached_prompt_tokens", "completion_tokens", "amount_picos")


def _sums(wanted: UsageFilter, day: ColumnElement[int] | None, by: Sequence[Grouping]) -> Select[Any]:
    for bound in (wanted.from_us, wanted.until_us):
        if bound is not None and bound % HOUR_US:
            raise Refused("totals are of whole hours: begin and end on an hour")
    keys: list[ColumnElement[Any]] = [*([] if day is None else [day]), *(_HOURS.c[name] for name in by)]
    keys.append(_HOURS.c.currency)
    sums = [ExactSum(_HOURS.c[name]).label(name) for name in _SUMMED]
    query = select(*keys, *sums).group_by(*keys).order_by(*keys)
    return _filtered(query, _HOURS, wanted, _HOURS.c.hour_us)


def _filtered(
    query: Select[Any], table: FromClause, wanted: UsageFilter, time: ColumnElement[int]
) -> Select[Any]:
    if wanted.from_us is not None:
        query = query.where(time >= wanted.from_us)
    if wanted.until_us is not None:
        query = query.where(time < wanted.until_us)
    for name in ("tenant_id", "project_id", "api_key_id", "model"):
        value = getattr(wanted, name)
        if value is not None:
            query = query.where(table.c[name] == value)
    return query


async def _labels(session: AsyncSession, key_ids: Sequence[str]) -> dict[str, KeyLabel]:
    found = {}
    for begin in range(0, len(key_ids), PAGE_ROWS):
        some = _KEYS.c.id.in_(key_ids[begin : begin + PAGE_ROWS])
        query = select(_KEYS.c.id, *_KEY_LABEL).where(some)
        for row in await session.execute(query):
            found[row.id] = KeyLabel(row.api_key_name, row.api_key_tags)
    return found


def _total(row: UsageLine, day_us: int | None, by: Sequence[Grouping]) -> UsageTotal:
    return UsageTotal(
        currency=row.currency,
        calls=row.calls,
        prompt_tokens=row.prompt_tokens,
        cached_prompt_tokens=row.cached_prompt_tokens,
        completion_tokens=row.completion_tokens,
        amount_picos=row.amount_picos,
        group=tuple(str(getattr(row, name)) for name in by),
        day_us=day_us,
    )
