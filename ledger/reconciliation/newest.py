"""The newest sample of each engine and model: what engines there are, and when they last answered."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import func, select, tuple_
from sqlmodel import col

from ledger.tables.engines import EngineSample

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession


@dataclass(frozen=True, slots=True)
class EngineNews:
    """What an engine last said of a model."""

    backend: str
    model: str
    at_us: int
    engine_started_us: int
    in_flight: int


async def newest_samples(session: "AsyncSession") -> list[EngineNews]:
    """One for each engine and model of which samples are kept, by engine and model."""
    key = (col(EngineSample.backend), col(EngineSample.model))
    last = select(*key, func.max(EngineSample.at_us)).group_by(*key)
    query = select(EngineSample).where(tuple_(*key, col(EngineSample.at_us)).in_(last)).order_by(*key)
    return [
        EngineNews(row.backend, row.model, row.at_us, row.engine_started_us, row.in_flight)
        for row in (await session.execute(query)).scalars()
    ]
