"""The most that a tenant or project may spend in a month: its hard limit on spend, in the currency's smallest
unit.

A limit like all others (ledger/limit_settings.py sets and keeps it). Here it is a whole number of cents, as
OpenAI tells it; one that was set finer elsewhere is shown rounded down, and holds as it was set.
"""

from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from ledger import limit_settings
from ledger.actors import PROGRAM, Actor
from ledger.errors import NotFound, Refused
from ledger.limit_settings import LimitScope
from ledger.limits import LIMIT_MAX, Limit, LimitKind, LimitWindow
from ledger.money import minor_unit_picos
from ledger.standings import standings


@dataclass(frozen=True, slots=True)
class SpendLimit:
    """`amount`: in the currency's smallest unit. `is_reached`: nothing is left of it in the running month."""

    amount: int
    is_reached: bool


async def get(session: AsyncSession, scope: LimitScope, currency: str, now_us: int) -> SpendLimit:
    """Raises NotFound where there is none."""
    return await _shown(session, await _find(session, scope), currency, now_us)


async def put(
    session: AsyncSession, scope: LimitScope, amount: int, currency: str, now_us: int, *, by: Actor = PROGRAM
) -> SpendLimit:
    """Sets it, within a second on every worker. Raises Refused for more than a limit can be."""
    picos = picos_of(amount, currency)
    limit = await limit_settings.set_limit(
        session, scope, LimitKind.SPEND, LimitWindow.MONTH, picos, now_us, by=by
    )
    return await _shown(session, limit, currency, now_us)


async def remove(session: AsyncSession, scope: LimitScope, now_us: int, *, by: Actor = PROGRAM) -> None:
    """Raises NotFound where there is none."""
    await limit_settings.remove_limit(session, (await _find(session, scope)).id, now_us, by=by)


def picos_of(amount: int, currency: str) -> int:
    """Exact. Raises Refused for more than any amount can be."""
    picos = amount * minor_unit_picos(currency)
    if not 0 <= picos <= LIMIT_MAX:
        most = LIMIT_MAX // minor_unit_picos(currency)
        raise Refused(f"threshold_amount is at most {most}", param="threshold_amount")
    return picos


def amount_of(picos: int, currency: str) -> int:
    """Whole smallest units, rounded down."""
    return picos // minor_unit_picos(currency)


async def _find(session: AsyncSession, scope: LimitScope) -> Limit:
    limit = await limit_settings.find_limit(session, scope, LimitKind.SPEND, LimitWindow.MONTH)
    if limit is None:
        raise NotFound("spend limit", scope.project_id or scope.tenant_id or "")
    return limit


async def _shown(session: AsyncSession, limit: Limit, currency: str, now_us: int) -> SpendLimit:
    await session.flush()
    (standing,) = await standings(await session.connection(), [limit], now_us)
    return SpendLimit(amount_of(limit.max_value, currency), standing.used >= limit.max_value)
