"""Points: how engine and ledger stood at one moment of each hour, kept for good; some 200 bytes each.

A chain of points is one life of an engine. Its first link is where the comparison begins; each later one has
the ledger's sums since the one before, so that any stretch of a chain is a window. The newest link moves on
with each turn until its hour is over. Late rows (a journal that was out of reach) come into hours that are
over: `refresh` adds them up anew.
Reading them is ledger/reconciliation/links.py's.

Two workers may take turns: a chain is read first, and written under a lock unless another has moved it.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from sqlalchemy import delete, desc, insert, select, text, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from ledger.database import Database
from ledger.periods import HOUR_US
from ledger.reconciliation import samples
from ledger.reconciliation.checks import names_counted_as, point_at
from ledger.reconciliation.links import Link, link_of, links_from
from ledger.reconciliation.lives import Life, Moment, lives
from ledger.tables import Table

LAG_US: Final = 10_000_000
"""How long a posting may take: younger samples wait for the next turn."""

_LOCK: Final = 0x6D67_0006  # PostgreSQL's advisory lock around the writing of links
_POINTS: Final = Table.metadata.tables["reconciliation_point"]
_KEY: Final = ("backend", "model", "engine_started_us", "at_us")


async def advance(
    database: Database, backend: str, model: str, counted: Sequence[str], now_us: int, lag_us: int = LAG_US
) -> bool:
    """Moves the chain of an engine's model on to its newest closed sample. `counted`: all that the engine
    counts, by its own names. False: several engines answer at this address, and nothing can be told.
    """
    models = names_counted_as(model, counted)
    async with database.read() as session:
        tail = await _tail(session, backend, model)
        since_us = tail[-1].point.at_us if tail else 0
        seen = await samples.kept(session, since_us, backend, model)
        chain = list(tail)
        for life in lives(sample for sample in seen if sample.at_us <= now_us - lag_us):
            if life.is_mixed or await _was_here(session, chain, life):
                return False
            chain = await _follow(session, chain, life, models, now_us)
    added = [link for link in chain if link not in tail]
    if added:
        async with database.write() as session:
            await _lock(session)
            if await _tail(session, backend, model) == tail:  # else another worker was quicker
                await _replace(session, [link for link in tail if link not in chain], added)
    return True


async def refresh(
    database: Database, counted: Mapping[str, Sequence[str]], from_us: int, now_us: int
) -> None:
    """Adds up anew what the ledger has of the links from an instant on, but for each chain's newest.
    `counted`: what each engine counts.
    """
    old, new = [], []
    async with database.read() as session:
        links = await links_from(await session.connection(), from_us)
    newest = {(link.backend, link.model): link for link in links}
    for link in links:
        if link is newest[link.backend, link.model]:
            continue
        models = names_counted_as(link.model, counted.get(link.backend, [link.model]))
        moment = Moment(link.asked_us, link.point.at_us, link.point.engine)
        async with (
            database.read() as session
        ):  # a snapshot for each: a long one keeps SQLite's log from ending
            point = await point_at(session, link.backend, models, moment, link.since_us)
        if point != link.point:
            old.append(link)
            new.append(replace(link, point=point, checked_us=now_us))
    if new:
        async with database.write() as session:
            await _lock(session)
            await _replace(session, old, new)


async def _follow(
    session: AsyncSession, chain: list[Link], life: Life, models: Collection[str] | None, now_us: int
) -> list[Link]:
    """The chain with what a life adds to its end."""
    end, is_closed = life.end(now_us)
    if not is_closed:
        return chain
    sample = life.samples[0]

    async def link_at(moment: Moment, since_us: int) -> Link:
        point = await point_at(session, sample.backend, models, moment, since_us)
        started_us, asked_us = sample.engine_started_us, moment.asked_us
        return Link(sample.backend, sample.model, started_us, asked_us, since_us, point, now_us)

    if not chain or not _goes_on(chain[-1], life):
        # What was before our first sample of an engine is not ours to compare; after a restart, all is.
        start = life.birth if chain and life.birth else Moment.of(sample)
        chain = [*chain, await link_at(start, start.at_us)]
    last = chain[-1]
    if end.at_us <= last.point.at_us:
        return chain
    if last.is_first or last.point.at_us // HOUR_US != end.at_us // HOUR_US:
        return [*chain, await link_at(end, last.point.at_us)]
    return [*chain[:-1], await link_at(end, last.since_us)]


def _goes_on(link: Link, life: Life) -> bool:
    """Whether the life is the one that the link is of."""
    engine, first = link.point.engine, life.samples[0].tokens
    is_same = link.engine_started_us == life.samples[0].engine_started_us
    return is_same and engine.prompt <= first.prompt and engine.generation <= first.generation


async def _was_here(session: AsyncSession, chain: Sequence[Link], life: Life) -> bool:
    """Whether a life that is new to us has been seen before another one."""
    started_us, sample = life.samples[0].engine_started_us, life.samples[0]
    if not started_us or not chain or chain[-1].engine_started_us == started_us:
        return False
    query = select(_POINTS.c.at_us).where(
        _POINTS.c.backend == sample.backend,
        _POINTS.c.model == sample.model,
        _POINTS.c.engine_started_us == started_us,
    )
    return (await session.execute(query.limit(1))).first() is not None


async def _tail(session: AsyncSession, backend: str, model: str) -> list[Link]:
    """The last two links, the older first."""
    query = select(_POINTS).where(_POINTS.c.backend == backend, _POINTS.c.model == model)
    rows = (await session.execute(query.order_by(desc(_POINTS.c.at_us)).limit(2))).all()
    return [link_of(row._asdict()) for row in reversed(rows)]


async def _replace(session: AsyncSession, old: Sequence[Link], new: Sequence[Link]) -> None:
    if old:
        keys = tuple_(*(_POINTS.c[name] for name in _KEY))
        values = [tuple(_values(link)[name] for name in _KEY) for link in old]
        await session.execute(delete(_POINTS).where(keys.in_(values)))
    await session.execute(insert(_POINTS), [_values(link) for link in new])


async def _lock(session: AsyncSession) -> None:
    """SQLite has one writer as it is."""
    if session.get_bind().dialect.name == "postgresql":
        await session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})


def _values(link: Link) -> dict[str, Any]:
    """The columns of a link."""
    point = link.point
    sums, before, after = point.sums, point.edge.before, point.edge.after
    return {
        "backend": link.backend,
        "model": link.model,
        "engine_started_us": link.engine_started_us,
        "at_us": point.at_us,
        "asked_us": link.asked_us,
        "since_us": link.since_us,
        "engine_prompt_tokens": point.engine.prompt,
        "engine_generation_tokens": point.engine.generation,
        "calls": sums.calls,
        "unknown_calls": sums.unknown_calls,
        "prompt_tokens": sums.prompt_tokens,
        "folded_prompt_tokens": sums.folded_prompt_tokens,
        "completion_tokens": sums.completion_tokens,
        "unsure_prompt_tokens": sums.unsure_prompt_tokens,
        "untold_tokens": sums.untold_tokens,
        "before_prompt_tokens": before.prompt,
        "before_generation_tokens": before.generation,
        "after_prompt_tokens": after.prompt,
        "after_generation_tokens": after.generation,
        "crossing_unknown_calls": point.edge.unknown_calls,
        "checked_us": link.checked_us,
    }
