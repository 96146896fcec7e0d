"""The price book: every version of every price in memory, for who rates calls.

The price in force when a call started rates it: the tenant's own, else everybody's. Knows nothing of how
prices are set (ledger/prices.py).
"""

import bisect
from collections import defaultdict
from typing import Final, NamedTuple

from ledger import changes
from ledger.direct import Connection
from ledger.limits import FOREVER_US
from ledger.money import Rates

CHANGED: Final = "price.set"
DEFAULT_CURRENCY: Final = "USD"

_ALL: Final = (
    "SELECT id, model, tenant_id, currency, input_micros_per_mtok, cached_input_micros_per_mtok,"
    " output_micros_per_mtok, request_micros, effective_from_us FROM price_version ORDER BY effective_from_us"
)


class Price(NamedTuple):
    """A version: what it charges, from `from_us` until the next one of its model and tenant begins."""

    id: str
    currency: str
    rates: Rates
    from_us: int


class PriceBook:
    """All versions in memory. `refresh` before rating, in the transaction that rates."""

    def __init__(self, currency: str = DEFAULT_CURRENCY) -> None:
        """`currency` is what unpriced rows say."""
        self.currency = currency
        self._seen: int | None = None  # the newest change that is in here
        self._begins: dict[tuple[str, str | None], list[int]] = {}
        self._versions: dict[tuple[str, str | None], list[Price]] = {}

    async def refresh(self, connection: Connection) -> None:
        """Read the prices again if the change log has a new one: one query when it has not."""
        latest = await changes.latest(connection)
        if latest == self._seen:
            return
        if self._seen is None or await changes.has_kind(connection, CHANGED, self._seen):
            await self._load(connection)
        self._seen = latest

    def in_force(self, model: str, tenant_id: str, at_us: int) -> Price | None:
        """The version that rates a call that started at `at_us`; None when the model is free then."""
        own = self._at((model, tenant_id), at_us)
        return own if own is not None else self._at((model, None), at_us)

    def holds_until(self, model: str, tenant_id: str, at_us: int) -> int:
        """When the next known version begins that could rate the model differently."""
        until_us = FOREVER_US
        for key in ((model, tenant_id), (model, None)):
            begins = self._begins.get(key, [])
            place = bisect.bisect_right(begins, at_us)
            if place < len(begins):
                until_us = min(until_us, begins[place])
        return until_us

    def held_from(self, model: str, tenant_id: str, at_us: int) -> int:
        """Since when the model has been rated as it is at `at_us`; 0 for ever."""
        from_us = 0
        for key in ((model, tenant_id), (model, None)):
            begins = self._begins.get(key, [])
            if place := bisect.bisect_right(begins, at_us):
                from_us = max(from_us, begins[place - 1])
        return from_us

    def _at(self, key: tuple[str, str | None], at_us: int) -> Price | None:
        begins = self._begins.get(key)
        if begins is None:
            return None
        place = bisect.bisect_right(begins, at_us)
        return self._versions[key][place - 1] if place else None

    async def _load(self, connection: Connection) -> None:
        versions: dict[tuple[str, str | None], list[Price]] = defaultdict(list)
        rows = await connection.exec_driver_sql(_ALL)
        for version_id, model, tenant_id, currency, *micros, from_us in rows:
            version = Price(version_id, currency, Rates(*micros), from_us)
            versions[model, tenant_id].append(version)
        self._versions = dict(versions)
        self._begins = {key: [version.from_us for version in found] for key, found in versions.items()}
