"""How fast a project may call each model: the limits of a project and model that OpenAI calls rate limits.

They are limits like all others (ledger/limit_settings.py sets and keeps them): hard ones of a project and one
model, for all its keys and end users together. Three kinds of them count here; a model has each or not.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from sqlalchemy import ColumnElement, collate
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col, or_, select

from ledger import limit_settings
from ledger.actors import PROGRAM, Actor
from ledger.limit_settings import LimitScope
from ledger.limits import LimitKind, LimitWindow
from ledger.object_pages import ObjectPage, PageWish
from ledger.tables.limits import UsageLimit

RATES: Final = {
    "requests_per_minute": (LimitKind.REQUESTS, LimitWindow.MINUTE),
    "tokens_per_minute": (LimitKind.TOKENS, LimitWindow.MINUTE),
    "requests_per_day": (LimitKind.REQUESTS, LimitWindow.DAY),
}


@dataclass(frozen=True, slots=True)
class ModelRates:
    """What a project may do with a model; None where no limit of its own says so."""

    model: str
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    requests_per_day: int | None = None


async def read(
    session: AsyncSession, project_id: str, served: Sequence[str], wish: PageWish
) -> ObjectPage[ModelRates]:
    """A page of the models that are `served` or that the project has such a limit for, by name.

    `wish.after` and `.before` are models; whether there are such is not asked: a name has its place in the
    order.
    """
    models = {name for name in served if _is_between(name, wish)}
    backwards = wish.before is not None and wish.after is None
    name = await _ordered(session)
    query = select(name).distinct().where(*_counting(project_id))
    if wish.after is not None:
        query = query.where(name > wish.after)
    if wish.before is not None:
        query = query.where(name < wish.before)
    query = query.order_by(name.desc() if backwards else name).limit(wish.limit + 1)
    models.update(model for model in (await session.execute(query)).scalars() if model)
    ordered = sorted(models, key=str.encode, reverse=backwards)
    page = ordered[: wish.limit]
    if backwards:
        page.reverse()
    rates = await rates_of(session, project_id, page)
    return ObjectPage([rates[model] for model in page], len(ordered) > wish.limit)


async def rates_of(session: AsyncSession, project_id: str, models: Sequence[str]) -> dict[str, ModelRates]:
    """What the project may do with each of these models."""
    found: dict[str, dict[str, int]] = {model: {} for model in models}
    query = select(UsageLimit).where(*_counting(project_id), col(UsageLimit.model).in_(models))
    names = {kept: name for name, kept in RATES.items()}
    for row in (await session.execute(query)).scalars():
        if row.model is not None and row.window is not None:
            found[row.model][names[row.kind, row.window]] = row.max_value
    return {model: ModelRates(model, **rates) for model, rates in found.items()}


async def change(
    session: AsyncSession,
    project_id: str,
    model: str,
    rates: dict[str, int | None],
    now_us: int,
    *,
    by: Actor = PROGRAM,
) -> None:
    """Sets the named rates of a model; None takes one away. Raises NotFound and Refused.

    A burst that somebody has set stays, as long as it fits.
    """
    scope = LimitScope(project_id=project_id)
    for name, rate in rates.items():
        kind, window = RATES[name]
        there = await limit_settings.find_limit(session, scope, kind, window, model)
        if rate is None:
            if there is not None:
                await limit_settings.remove_limit(session, there.id, now_us, by=by)
            continue
        burst = there.burst if there is not None and there.burst is not None else None
        await limit_settings.set_limit(
            session,
            scope,
            kind,
            window,
            rate,
            now_us,
            model=model,
            burst=None if burst is None else min(burst, rate) or None,
            by=by,
        )


def _counting(project_id: str) -> list[ColumnElement[bool]]:
    """Which limits these are."""
    return [
        col(UsageLimit.project_id) == project_id,
        col(UsageLimit.api_key_id).is_(None),
        col(UsageLimit.model).is_not(None),
        col(UsageLimit.end_user).is_(None),
        col(UsageLimit.soft).is_(False),
        or_(
            *(
                (col(UsageLimit.kind) == kind) & (col(UsageLimit.window) == window)
                for kind, window in RATES.values()
            )
        ),
    ]


def _is_between(name: str, wish: PageWish) -> bool:
    """By the bytes of UTF-8, as the databases order it."""
    place = name.encode()
    return (wish.after is None or place > wish.after.encode()) and (
        wish.before is None or place < wish.before.encode()
    )


async def _ordered(session: AsyncSession) -> ColumnElement[str]:
    """A model's name as both databases order it alike, whatever the locale of a PostgreSQL is."""
    is_postgresql = (await session.connection()).dialect.name == "postgresql"
    return collate(cast(Any, UsageLimit.model), "C" if is_postgresql else "BINARY")
