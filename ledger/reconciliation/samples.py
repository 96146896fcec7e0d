"""Samples of engines' counters, kept for KEPT_US: long enough for a look back, and for nothing else."""

from collections.abc import Iterable
from typing import Final

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from ledger.reconciliation.arithmetic import Tokens
from ledger.reconciliation.lives import Sample
from ledger.tables import EngineSample

KEPT_US: Final = 8 * 86_400_000_000
"""A week and a day: some 11,000 rows for each engine and model at one a minute."""


async def keep(session: AsyncSession, samples: Iterable[Sample]) -> None:
    """Write them down. The caller commits."""
    session.add_all(
        EngineSample(
            backend=sample.backend,
            model=sample.model,
            at_us=sample.at_us,
            asked_us=sample.asked_us,
            engine_started_us=sample.engine_started_us,
            counting_since_us=sample.counting_since_us,
            prompt_tokens=sample.tokens.prompt,
            generation_tokens=sample.tokens.generation,
            in_flight=sample.in_flight,
        )
        for sample in samples
    )


async def kept(
    session: AsyncSession, from_us: int = 0, backend: str | None = None, model: str | None = None
) -> list[Sample]:
    """The samples from an instant on, the oldest first."""
    columns = EngineSample.__table__.columns  # type: ignore[attr-defined]
    query = select(EngineSample).where(columns.at_us >= from_us).order_by(columns.at_us)
    if backend is not None:
        query = query.where(columns.backend == backend)
    if model is not None:
        query = query.where(columns.model == model)
    return [
        Sample(
            row.backend,
            row.model,
            row.at_us,
            row.asked_us,
            row.engine_started_us,
            row.counting_since_us,
            Tokens(row.prompt_tokens, row.generation_tokens),
            row.in_flight,
        )
        for row in (await session.execute(query)).scalars()
    ]


async def forget(session: AsyncSession, now_us: int) -> None:
    """Let those go that are older than KEPT_US. The caller commits."""
    columns = EngineSample.__table__.columns  # type: ignore[attr-defined]
    await session.execute(delete(EngineSample).where(columns.at_us < now_us - KEPT_US))
