"""The rows and the sums of one UTC hour, added up by the database: what all checks of rows begin with.

An hour at a time keeps statements short (a PostgreSQL connection gives up on one that takes a minute), and
memory to the groups of an hour, however many rows there are. Hours without anything are stepped over.
"""

from dataclasses import dataclass
from typing import Any, Final, NamedTuple, cast

from sqlalchemy import ColumnElement, Numeric, Select, String, and_, case, func, or_, select, type_coerce
from sqlalchemy import cast as sql_cast
from sqlalchemy.ext.asyncio import AsyncSession

from ledger.money import rate
from ledger.periods import DAY_US, HOUR_US
from ledger.reports import ExactSum
from ledger.tables import Table
from ledger.usage import UsageSource

ROWS: Final = Table.metadata.tables["usage"]
HOURS: Final = Table.metadata.tables["usage_hour"]
PROJECT_HOURS: Final = Table.metadata.tables["project_hour"]
PRICES: Final = Table.metadata.tables["price_version"]
KEY: Final = ("tenant_id", "project_id", "api_key_id", "model", "endpoint", "currency", "usage_source")
PROJECT_KEY: Final = ("tenant_id", "project_id", "model", "endpoint")
SUMS: Final = ("prompt_tokens", "cached_prompt_tokens", "completion_tokens", "amount_picos")


class Group(NamedTuple):
    """What one hourly sum is about."""

    hour_us: int
    tenant_id: str
    project_id: str
    api_key_id: str
    model: str
    endpoint: str
    currency: str
    usage_source: str


class Sums(NamedTuple):
    """Calls, tokens and money added up."""

    calls: int
    prompt_tokens: int
    cached_prompt_tokens: int
    completion_tokens: int
    amount_picos: int


@dataclass(frozen=True, slots=True)
class Rated:
    """The rows of one group that have one price version, and when they started and were posted."""

    group: Group
    price_version_id: str | None
    sums: Sums
    started_us: tuple[int, int]
    posted_us: tuple[int, int]
    wrong_amounts: int
    impossible: int


async def next_hour(session: AsyncSession, from_us: int | None, until_us: int | None) -> int | None:
    """The first hour from `from_us` on, and before `until_us`, that has rows or sums."""
    found = []
    for time in (ROWS.c.started_us, HOURS.c.hour_us, PROJECT_HOURS.c.hour_us):
        query = within(select(func.min(time)), time, from_us, until_us)
        first_us = (await session.execute(query)).scalar_one()
        if first_us is not None:
            found.append(int(first_us))
    if not found:
        return None
    return min(found) - min(found) % HOUR_US


async def rated_rows(session: AsyncSession, hour_us: int) -> list[Rated]:
    """The rows of an hour, added up."""
    keys = [_plain(ROWS.c[name]) for name in KEY]
    columns: list[ColumnElement[Any]] = [
        *keys,
        ROWS.c.price_version_id,
        func.count(),
        *(ExactSum(ROWS.c[name]) for name in SUMS),
        func.min(ROWS.c.started_us),
        func.max(ROWS.c.started_us),
        func.min(ROWS.c.posted_us),
        func.max(ROWS.c.posted_us),
        func.sum(case((wrong_amount(), 1), else_=0)),
        func.sum(case((or_(*impossible(session).values()), 1), else_=0)),
    ]
    query = (
        select(*columns)
        .select_from(ROWS.outerjoin(PRICES, PRICES.c.id == ROWS.c.price_version_id))
        .group_by(*keys, ROWS.c.price_version_id)
    )
    query = within(query, ROWS.c.started_us, hour_us, hour_us + HOUR_US)
    return [
        Rated(
            Group(hour_us, *row[:7]),
            row[7],
            Sums(int(row[8]), *row[9:13]),
            (int(row[13]), int(row[14])),
            (int(row[15]), int(row[16])),
            int(row[17]),
            int(row[18]),
        )
        for row in await session.execute(query)
    ]


async def rollups(session: AsyncSession, hour_us: int) -> dict[Group, Sums]:
    """The sums that the book keeps of an hour."""
    query: Select[Any] = select(
        HOURS.c.hour_us,
        *(_plain(HOURS.c[name]) for name in KEY),
        HOURS.c.calls,
        *(HOURS.c[name] for name in SUMS),
    )
    query = within(query, HOURS.c.hour_us, hour_us, hour_us + HOUR_US)
    return {
        Group(*row[:8]): Sums._make(int(value) for value in row[8:]) for row in await session.execute(query)
    }


async def project_rollups(session: AsyncSession, hour_us: int) -> dict[tuple[str, ...], tuple[int, ...]]:
    """The counts that the book keeps of an hour by PROJECT_KEY."""
    names = (*PROJECT_KEY, "calls", *SUMS[:3])
    query: Select[Any] = select(*(PROJECT_HOURS.c[name] for name in names))
    query = query.where(PROJECT_HOURS.c.hour_us == hour_us)
    depth = len(PROJECT_KEY)
    return {tuple(row[:depth]): tuple(row[depth:]) for row in await session.execute(query)}


def within(
    query: Select[Any], time: ColumnElement[int], from_us: int | None, until_us: int | None
) -> Select[Any]:
    """Only what lies in [from_us, until_us)."""
    if from_us is not None:
        query = query.where(time >= from_us)
    return query if until_us is None else query.where(time < until_us)


def expected_amount() -> ColumnElement[Any]:
    """What a row costs by its price version: `ledger.money.rate` itself, given columns for numbers."""
    exact = {column.name: sql_cast(column, Numeric(38, 0)) for column in (*ROWS.c, *PRICES.c)}
    priced = rate(cast(Any, _Named(exact)), cast(Any, _Named(exact)))
    return case((ROWS.c.price_version_id.is_(None), 0), else_=cast(Any, priced))


def wrong_amount() -> ColumnElement[bool]:
    """Rows whose amount is another; not those of a version that there is not, nor what is unresolved."""
    amount = type_coerce(ROWS.c.amount_picos, Numeric(38, 0))
    return and_(_plain(ROWS.c.usage_source) != UsageSource.UNRESOLVED.value, amount != expected_amount())


def impossible(session: AsyncSession) -> dict[str, ColumnElement[bool]]:
    """What no row can be, in words."""
    return {
        "it ended before it started": ROWS.c.ended_us < ROWS.c.started_us,
        "a count is negative": or_(*(ROWS.c[name] < 0 for name in SUMS[:3])),
        "more of its prompt was cached than it had": ROWS.c.cached_prompt_tokens > ROWS.c.prompt_tokens,
        "it is unresolved and has an amount": and_(
            _plain(ROWS.c.usage_source) == UsageSource.UNRESOLVED.value, ROWS.c.amount_picos != 0
        ),
        "its id was made more than a day from its start, where reports do not look": or_(
            ROWS.c.request_id < _id_at(session, ROWS.c.started_us - DAY_US),
            ROWS.c.request_id >= _id_at(session, ROWS.c.started_us + DAY_US),
        ),
    }


def _id_at(session: AsyncSession, at_us: ColumnElement[int]) -> ColumnElement[str]:
    """`ledger.ids.id_at`, in SQL."""
    if session.get_bind().dialect.name == "postgresql":
        return func.concat("req_", func.lpad(func.to_hex(at_us), 14, "0"))
    return func.printf("req_%014x", at_us)


def _plain(column: ColumnElement[Any]) -> ColumnElement[str]:
    """Text as it stands there, whether or not this version knows its meaning."""
    return type_coerce(column, String)


class _Named:
    """Values by attribute."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.__dict__.update(values)
