"""The background check: samples of every engine, and the ledger beside them, turn by turn.

Owns when engines are asked and what is said of it. Rules: an engine that does not tell its counts holds up no
other, and is said once; a difference that nothing explains is said once an hour. The gauges on the metrics
page come from what this leaves in the ledger.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Final

from admin.sampling import CountsMissing, Sampler
from admin.times import format_instant
from ledger.database import Database
from ledger.periods import HOUR_US
from ledger.reconciliation import points, samples
from ledger.reconciliation.arithmetic import NO_TOKENS
from ledger.reconciliation.lives import Sample

SHOWN_US: Final = 86_400_000_000
"""What is said and shown is of the last day."""

_log = logging.getLogger("metergate.reconciliation")


class Reconciler:
    """Takes turns; one at a time."""

    def __init__(
        self,
        database: Database,
        sampler: Sampler,
        engines: Sequence[str],
        now_us: Callable[[], int],
        lag_us: int = points.LAG_US,
    ) -> None:
        """`now_us` is the clock; `lag_us`: how old a sample is when it is compared, at least."""
        self._database = database
        self._sampler = sampler
        self._engines = tuple(dict.fromkeys(engines))
        self._now_us = now_us
        self._lag_us = lag_us
        self._said: dict[str, str] = {}
        self._told: dict[tuple[str, str], int] = {}
        self._hour = 0

    async def turn(self) -> None:
        """Asks every engine, and compares. Raises DatabaseFault."""
        answers = await asyncio.gather(*(self._ask(url) for url in self._engines))
        taken = [sample for answer in answers for sample in answer]
        async with self._database.write() as session:
            await samples.keep(session, taken)
        counted: dict[str, list[str]] = defaultdict(list)
        for sample in taken:
            counted[sample.backend].append(sample.model)
        now_us = self._now_us()
        for url, models in counted.items():
            for model in models:
                if not await points.advance(self._database, url, model, models, now_us, self._lag_us):
                    self._say(url, "is several engines: name each by its own address to reconcile them")
        if now_us // HOUR_US != self._hour:
            self._hour = now_us // HOUR_US
            await points.refresh(self._database, counted, now_us)
            async with self._database.write() as session:
                await samples.forget(session, now_us)
        await self._compare(now_us)

    async def _ask(self, url: str) -> Sequence[Sample]:
        try:
            taken = await self._sampler.sample(url)
        except CountsMissing as fault:
            self._say(url, str(fault))
            return ()
        if url in self._said:
            _log.warning("engine %s tells its counts again", url)
            del self._said[url]
        return taken

    def _say(self, url: str, fault: str) -> None:
        if self._said.get(url) != fault:
            self._said[url] = fault
            _log.warning("engine %s %s: the ledger cannot be compared with it", url, fault)

    async def _compare(self, now_us: int) -> None:
        since_us = now_us - SHOWN_US
        async with self._database.read() as session:
            found = await points.standings(session, since_us)
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
