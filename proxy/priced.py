"""Which models have a price now, and what it is, as admission needs to know.

Owns a copy of the price book that follows the change log. A call's amount is worked out at posting; here it
is what running calls hold of their budgets.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress

from ledger.direct_database import DirectDatabase
from ledger.errors import DatabaseFault
from ledger.money import Rates
from ledger.price_book import PriceBook

_RETRY_SECONDS = 1.0
_log = logging.getLogger("metergate.priced")


class PricedModels:
    """Answers `is_priced` without waiting. `now_us` is the clock."""

    def __init__(self, database: DirectDatabase, now_us: Callable[[], int]) -> None:
        self._database = database
        self._now_us = now_us
        self._book = PriceBook()
        self._stale = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.on_change: list[Callable[[], None]] = []

    async def start(self) -> None:
        """Reads the prices. Raises DatabaseFault."""
        await self._refresh()
        self._task = asyncio.create_task(self._follow())

    async def stop(self) -> None:
        """Stops following."""
        if self._task:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    def changed(self) -> None:
        """The ledger has changed somewhere: the prices are read again soon."""
        self._stale.set()

    def is_priced(self, model: str, tenant_id: str) -> bool:
        """Whether a call that starts now is rated by a price."""
        return self._book.in_force(model, tenant_id, self._now_us()) is not None

    def rates_of(self, model: str, tenant_id: str, at_us: int) -> tuple[Rates | None, int]:
        """What a call that starts at `at_us` costs (None: nothing), and until when that is so, as far as is
        known.
        """
        version = self._book.in_force(model, tenant_id, at_us)
        return version.rates if version else None, self._book.holds_until(model, tenant_id, at_us)

    async def _refresh(self) -> None:
        await self._database.look(self._book.refresh)
        for notify in self.on_change:
            notify()

    async def _follow(self) -> None:
        is_told = False
        while True:
            await self._stale.wait()
            self._stale.clear()
            try:
                await self._refresh()
                is_told = False
            except DatabaseFault as error:
                if not is_told:
                    _log.warning("%s; the prices known go on", error)
                is_told = True
                self._stale.set()
                await asyncio.sleep(_RETRY_SECONDS)
