"""The background check: samples of every engine, and the ledger beside them, turn by turn.

Owns when engines are asked and what is said of it. Rules: an engine that does not tell its counts holds up no
other, and is said once; a difference that nothing explains is said once an hour. The gauges on the metrics
page come from what this leaves in the ledger.
"""

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from admin.sampling import CountsMissing, Sampler
from admin.times import format_instant
from ledger.database import Database
from ledger.periods import DAY_US, HOUR_US
from ledger.reconciliation import links, points, samples
from ledger.reconciliation.arithmetic import NO_TOKENS
from ledger.reconciliation.lives import Sample

LATE_US: Final = 6 * HOUR_US
SHARE: Final = 0.02
"""An hour of 200 calls a second takes SQLite about a second to add up: every minute would be too often."""
TURNS_SILENT: Final = 2
"""How often in a row an engine has not told its counts when that is said."""

_log = logging.getLogger("metergate.reconciliation")


class Reconciler:
    """Takes turns; one at a time."""

    def __init__(
        self,
        database: Database,
        sampler: Sampler,
        engines: Sequence[str],
        now_us: Callable[[], int],
        *,
        lag_us: int = points.LAG_US,
        share: float = SHARE,
    ) -> None:
        """`now_us` is the clock; `lag_us`: how old a sample is when it is compared, at least; `share`: of the
        time, what comparing may take.
        """
        self._database = database
        self._sampler = sampler
        self._engines = tuple(dict.fromkeys(engines))
        self._now_us = now_us
        self._lag_us = lag_us
        self._share = share
        self._rested = 0.0
        self._silent: dict[str, int] = {}
        self._mixed: set[str] = set()
        self._told: dict[tuple[str, str], int] = {}
        self._hour = self._day = 0

    async def turn(self) -> None:
        """Asks every engine, and compares if that has rested for long enough. Raises DatabaseFault."""
        answers = await asyncio.gather(*(self._ask(url) for url in self._engines))
        taken = [sample for answer in answers for sample in answer]
        async with self._database.write() as session:
            await samples.keep(session, taken)
        counted: dict[str, list[str]] = defaultdict(list)
        for sample in taken:
            counted[sample.backend].append(sample.model)
        now_us, began = self._now_us(), time.monotonic()
        if began < self._rested:
            return
        for url, models in counted.items():
            for model in models:
                if not await points.advance(self._database, url, model, models, now_us, self._lag_us):
                    self._say_mixed(url)
        ended = time.monotonic()
        self._rested = ended + (ended - began) * (1 / self._share - 1)
        await self._look_for_late_rows(counted, now_us)
        await self._compare(now_us)

    async def close(self) -> None:
        """Lets its connections to the engines go."""
        await self._sampler.close()

    async def _look_for_late_rows(self, counted: Mapping[str, Sequence[str]], now_us: int) -> None:
        """Once an hour in the last hours, once a day in all days of which there are samples."""
        if now_us // HOUR_US == self._hour:
            return
        is_new_day, self._hour = now_us // DAY_US != self._day, now_us // HOUR_US
        self._day = now_us // DAY_US
        back_us = samples.KEPT_US if is_new_day else LATE_US
        await points.refresh(self._database, counted, now_us - back_us, now_us)
        async with self._database.write() as session:
            await samples.forget(session, now_us)

    async def _ask(self, url: str) -> Sequence[Sample]:
        try:
            taken = await self._sampler.sample(url)
        except CountsMissing as fault:
            # Not at its first turn: one that is away for a moment is the data plane's to tell.
            turns = self._silent[url] = self._silent.get(url, 0) + 1
            if turns == TURNS_SILENT:
                _log.warning("engine %s %s: the ledger cannot be compared with it", url, fault)
            return ()
        if self._silent.pop(url, 0) >= TURNS_SILENT:
            _log.warning("engine %s tells its counts again", url)
        return taken

    def _say_mixed(self, url: str) -> None:
        if url not in self._mixed:
            self._mixed.add(url)
            _log.warning("engine %s is several engines: the ledger cannot be compared with it", url)

    async def _compare(self, now_us: int) -> None:
        since_us = now_us - DAY_US
        async with self._database.read() as session:
            found = await links.standings(await session.connection(), since_us)
        for standing in found:
            key, unexplained = (standing.backend, standing.model), standing.unexplained
            if unexplained == NO_TOKENS:
                self._told.pop(key, None)
            if unexplained == NO_TOKENS or self._told.get(key) == self._hour:
                continue
            self._told[key] = self._hour
            _log.warning(
                "engine %s counted %+d prompt and %+d generated tokens of %s since %s that no call explains: "
                "metergate reconcile",
                standing.backend,
                unexplained.prompt,
                unexplained.generation,
                standing.model,
                format_instant(since_us)[:19] + "Z",
            )
