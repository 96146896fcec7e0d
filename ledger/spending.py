"""What tenants and their projects have spent in a month so far, asked again and again and cheaply.

From the hourly rollups. Hours long past hardly change any more: their sum is kept for an hour, and only the
last two days are added up each time. A record that comes later than that counts within the hour.
"""

from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from ledger.periods import HOUR_US, month_span_at
from ledger.reports import ExactSum
from ledger.tables import Table

LIVE_HOURS: Final = 48
KEPT_US: Final = HOUR_US

_HOURS: Final = Table.metadata.tables["usage_hour"]

Spender = tuple[str, str | None, str]
"""A tenant, its project or None for all of them, and a currency."""


@dataclass(frozen=True, slots=True)
class _Settled:
    """Sums of the hours before `until_us`, as they were at `at_us`."""

    at_us: int
    until_us: int
    tenants: frozenset[str]
    sums: Mapping[tuple[str, str, str], int]


@dataclass(slots=True)
class Spending:
    """Keeps the sums of past hours between readings."""

    _settled: dict[int, _Settled] = field(default_factory=dict)

    async def read(
        self, session: AsyncSession, tenants: Set[str], window_us: int, now_us: int
    ) -> dict[Spender, int]:
        """Picos spent by these tenants, and by each of their projects, in the month that begins then."""
        until_us = month_span_at(window_us)[1]
        settled = self._settled.get(window_us)
        if settled is None or settled.tenants != tenants or now_us - settled.at_us >= KEPT_US:
            live_from_us = now_us - now_us % HOUR_US - LIVE_HOURS * HOUR_US
            split_us = min(max(live_from_us, window_us), until_us)
            sums = await _sums(session, tenants, window_us, split_us)
            settled = _Settled(now_us, split_us, frozenset(tenants), sums)
            self._settled = {kept: one for kept, one in self._settled.items() if now_us - one.at_us < KEPT_US}
            self._settled[window_us] = settled
        spent: dict[Spender, int] = {}
        live = await _sums(session, tenants, settled.until_us, until_us)
        for part in (settled.sums, live):
            for (tenant_id, project_id, currency), picos in part.items():
                for spender in ((tenant_id, None, currency), (tenant_id, project_id, currency)):
                    spent[spender] = spent.get(spender, 0) + picos
        return spent


async def _sums(
    session: AsyncSession, tenants: Set[str], from_us: int, until_us: int
) -> dict[tuple[str, str, str], int]:
    if from_us >= until_us or not tenants:
        return {}
    keys: list[Any] = [_HOURS.c.tenant_id, _HOURS.c.project_id, _HOURS.c.currency]
    query = (
        select(*keys, ExactSum(_HOURS.c.amount_picos))
        .where(
            _HOURS.c.hour_us >= from_us, _HOURS.c.hour_us < until_us, _HOURS.c.tenant_id.in_(sorted(tenants))
        )
        .group_by(*keys)
    )
    return {(row[0], row[1], row[2]): row[3] for row in await session.execute(query)}
