"""The comparison on demand: every engine's samples since some instant, and the ledger's rows of the time.

Each life of an engine is a comparison of its own. What cannot be judged is told with its reason and with what
the ledger has of it, never left out: calls between the last sample of a life and its end, an engine nobody
has sampled, one address with several engines behind it.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence

from sqlalchemy.ext.asyncio import AsyncSession

from ledger.reconciliation.arithmetic import Point, Sums, Window
from ledger.reconciliation.comparison import Comparison, Unjudged
from ledger.reconciliation.lives import Life, Moment, Sample, lives
from ledger.reconciliation.sums import backends_between, edge_at, sums_between


async def compare(
    session: AsyncSession,
    samples: Iterable[Sample],
    since_us: int,
    now_us: int,
    backends: Collection[str] | None = None,
) -> list[Comparison]:
    """Everything from `since_us` on, by engine and model, in the order of time. `backends`: None for all."""
    by_engine: dict[tuple[str, str], list[Sample]] = defaultdict(list)
    pages: dict[tuple[str, int], list[str]] = defaultdict(list)
    for sample in samples:
        if backends is None or sample.backend in backends:
            by_engine[sample.backend, sample.model].append(sample)
            pages[sample.backend, sample.at_us].append(sample.model)
    found: list[Comparison] = []
    for (backend, model), own in sorted(by_engine.items()):
        models = names_counted_as(model, pages[backend, max(sample.at_us for sample in own)])
        found += await _engine(session, backend, model, models, own, since_us, now_us)
    sampled = {backend for backend, _ in by_engine}
    for backend in sorted(await backends_between(session, since_us, now_us) - sampled):
        if backends is None or backend in backends:
            found.append(await _unjudged(session, Unjudged.NO_SAMPLE, backend, "", None, since_us, now_us))
    return found


def names_counted_as(model: str, counted: Sequence[str]) -> list[str] | None:
    """The names by which calls ask for what an engine counts as `model`; None: any name.

    vLLM serves one model and counts all calls to its first name, whether they ask for it by another of its
    names or for an adapter. An engine that counts several models tells them apart by the names that are asked
    for.
    """
    return None if len(set(counted)) == 1 else [model]


async def point_at(
    session: AsyncSession, backend: str, models: Collection[str] | None, moment: Moment, since_us: int
) -> Point:
    """A moment with the ledger's side: the calls since `since_us`, and those across it."""
    sums = (
        await sums_between(session, backend, models, since_us, moment.at_us)
        if since_us < moment.at_us
        else Sums()
    )
    edge = await edge_at(session, backend, models, moment.asked_us, moment.at_us)
    return Point(moment.at_us, moment.tokens, sums, edge)


async def _engine(
    session: AsyncSession,
    backend: str,
    model: str,
    models: Collection[str] | None,
    samples: list[Sample],
    since_us: int,
    now_us: int,
) -> list[Comparison]:
    own = lives(samples)
    if any(life.is_mixed for life in own):
        why = Unjudged.SEVERAL_ENGINES
        return [await _unjudged(session, why, backend, model, models, since_us, now_us)]
    found = []
    for number, life in enumerate(own):
        if life.is_over and life.samples[-1].at_us <= since_us:
            continue
        found += await _life(session, backend, model, models, life, since_us, now_us)
        if life.is_over:
            after_us, until_us = life.samples[-1].at_us, _beginning(own[number + 1])
            lost = await _unjudged(session, Unjudged.RESTARTED, backend, model, models, after_us, until_us)
            found += [lost] if lost.sums.calls else []
    return found


async def _life(
    session: AsyncSession,
    backend: str,
    model: str,
    models: Collection[str] | None,
    life: Life,
    since_us: int,
    now_us: int,
) -> list[Comparison]:
    start, (end, is_closed) = life.start(since_us), life.end(now_us)
    if start is None or start.at_us >= end.at_us:
        return [await _unjudged(session, Unjudged.ONE_SAMPLE, backend, model, models, since_us, now_us)]
    points = [
        await point_at(session, backend, models, start, start.at_us),
        await point_at(session, backend, models, end, start.at_us),
    ]
    window = Window.over(points, is_open=not is_closed)
    return [Comparison(backend, model, start.at_us, end.at_us, window.sums, window)]


def _beginning(life: Life) -> int:
    return life.birth.at_us if life.birth is not None else life.samples[0].at_us


async def _unjudged(
    session: AsyncSession,
    why: Unjudged,
    backend: str,
    model: str,
    models: Collection[str] | None,
    after_us: int,
    until_us: int,
) -> Comparison:
    sums = await sums_between(session, backend, models, after_us, until_us)
    return Comparison(backend, model, after_us, until_us, sums, unjudged=why)
