"""The ledger's side of a comparison: usage rows of one engine, added up.

tests/histories.py has both questions written down plainly, and the statements here are held to that. They
read `usage` by its index on the start, and on PostgreSQL in the partitions of the time alone.
"""

from collections.abc import Collection
from typing import Any, Final

from sqlalchemy import ColumnElement, Row, Select, case, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from ledger.partitions import made_between
from ledger.reconciliation.arithmetic import MARGIN_US, Alike, Edge, Sums
from ledger.record import Ending
from ledger.tables import Table

LOOKBACK_US: Final = 3_600_000_000
"""A call that has run for longer than an hour when a moment comes is not looked for among those across it."""

_ROWS: Final = Table.metadata.tables["usage"]
# When a killed call really ended is not known: before its row was posted.
_OVER_US: Final = case((_ROWS.c.ending == Ending.KILLED, _ROWS.c.posted_us), else_=_ROWS.c.ended_us)


async def sums_between(
    session: AsyncSession, backend: str, models: Collection[str] | None, after_us: int, until_us: int
) -> Sums:
    """The engine's calls that started in (after_us, until_us]. `models`: as calls name them; None: all."""
    query = _groups(session, backend, models, after_us, until_us)
    return Sums.of(map(_alike, await session.execute(query)))


async def edge_at(
    session: AsyncSession, backend: str, models: Collection[str] | None, asked_us: int, at_us: int
) -> Edge:
    """The engine's calls across a moment that is somewhere in [asked_us, at_us]."""
    earliest_us, latest_us = asked_us - MARGIN_US - LOOKBACK_US, at_us + MARGIN_US
    started_before = (_ROWS.c.started_us <= at_us).label("started_before")
    query = _groups(session, backend, models, earliest_us, latest_us, started_before)
    groups = (await session.execute(query.where(asked_us - MARGIN_US <= _OVER_US))).all()
    before = Sums.of(_alike(row) for row in groups if row.started_before)
    after = Sums.of(_alike(row) for row in groups if not row.started_before)
    return Edge(before.most, after.most, before.unknown_calls + after.unknown_calls)


async def backends_between(session: AsyncSession, after_us: int, until_us: int) -> set[str]:
    """The engines that have calls in the ledger that started in (after_us, until_us]."""
    query = _started(session, select(_ROWS.c.backend).distinct(), after_us, until_us)
    return set((await session.execute(query)).scalars())


def _groups(
    session: AsyncSession,
    backend: str,
    models: Collection[str] | None,
    after_us: int,
    until_us: int,
    *further: ColumnElement[Any],
) -> Select[Any]:
    """Calls that started in (after_us, until_us], added up by what Alike tells apart."""
    keys = (_ROWS.c.backend, _ROWS.c.usage_source, _ROWS.c.ending, *further)
    folded = _ROWS.c.prompt_tokens * _ROWS.c.choices_per_prompt
    query: Select[Any] = select(
        *keys,
        func.count().label("calls"),
        func.sum(_ROWS.c.choices_per_prompt).label("choices"),
        func.sum(_ROWS.c.prompt_tokens).label("prompt_tokens"),
        func.sum(folded).label("folded_prompt_tokens"),
        func.sum(_ROWS.c.completion_tokens).label("completion_tokens"),
    )
    query = _started(session, query, after_us, until_us).where(_ROWS.c.backend == backend).group_by(*keys)
    return query if models is None else query.where(_ROWS.c.model.in_(sorted(models)))


def _started(session: AsyncSession, query: Select[Any], after_us: int, until_us: int) -> Select[Any]:
    query = query.where(_ROWS.c.started_us > after_us, _ROWS.c.started_us <= until_us)
    if session.get_bind().dialect.name == "postgresql":
        query = query.where(*made_between(_ROWS.c.request_id, after_us, until_us))
    return query


def _alike(row: Row[Any]) -> Alike:
    """PostgreSQL sums integers as decimals."""
    return Alike(
        row.usage_source,
        row.ending,
        row.backend.startswith("https:"),
        int(row.calls),
        int(row.choices),
        int(row.prompt_tokens),
        int(row.folded_prompt_tokens),
        int(row.completion_tokens),
    )
