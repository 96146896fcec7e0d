"""What the ledger knows: how it stands to the engines' own counters, and how logins came out.

Background worker and control plane may run on other hosts than the metrics page, so what they found is read
from the ledger.
A thread of its own reads every REFRESH_SECONDS; a scrape shows what was read last and never waits for a
database. While that is away the gauges stay as they were, and `checked` tells how old they are.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ledger import login_counts
from ledger.direct_database import DirectDatabase
from ledger.errors import LedgerError
from ledger.login_counts import Outcome
from ledger.periods import DAY_US
from ledger.reconciliation.links import Standing, standings
from ledger.settings import LedgerSettings, load

START_SECONDS: Final = 5.0
"""Before the first reading: everything else starts just now."""

REFRESH_SECONDS: Final = 15.0

CAPTURE: Final = ("metergate_reconciliation_capture_ratio", ("backend", "model"))
UNEXPLAINED: Final = ("metergate_reconciliation_unexplained_tokens", ("backend", "model", "type"))
CHECKED: Final = ("metergate_reconciliation_checked_timestamp_seconds", ("backend", "model"))
LOGINS: Final = ("metergate_logins_total", ("outcome",))
NAMES: Final = dict((CAPTURE, UNEXPLAINED, CHECKED, LOGINS))
"""Each with its labels."""

_log = logging.getLogger("metergate.metrics")


class LedgerGauges(Collector):
    """Shows what it has read last: nothing, at first."""

    def __init__(self, database_url: str | None = None) -> None:
        """Reads nothing yet, not even the settings that name the database where none is given."""
        self._database_url = database_url
        self._standings: Sequence[Standing] = ()
        self._logins: Mapping[Outcome, int] = {}
        self._fault = ""

    def follow(self) -> None:
        """Begins to read, in a thread that ends with the process."""
        threading.Thread(target=self._follow, name="ledger gauges", daemon=True).start()

    def refresh(self) -> None:
        """Reads once. A ledger that does not answer is said once, and changes nothing."""
        try:
            self._standings, self._logins = asyncio.run(self._read())
            self._fault = ""
        except LedgerError as fault:
            if str(fault) != self._fault:
                self._fault = str(fault)
                _log.warning("what the ledger knows stays as it is: %s", fault)

    def collect(self) -> Iterator[Metric]:
        """For one scrape."""
        ratio = GaugeMetricFamily(
            CAPTURE[0], "Of what the engine counted in the last day, what the ledger has.", labels=CAPTURE[1]
        )
        unexplained = GaugeMetricFamily(
            UNEXPLAINED[0],
            "Tokens of the last day that the engine counted and no call explains; negative: the reverse.",
            labels=UNEXPLAINED[1],
        )
        checked = GaugeMetricFamily(CHECKED[0], "When they were compared last.", labels=CHECKED[1])
        for standing in self._standings:
            labels = (standing.backend, standing.model)
            if standing.capture_ratio is not None:
                ratio.add_metric(labels, standing.capture_ratio)
            unexplained.add_metric((*labels, "input"), standing.unexplained.prompt)
            unexplained.add_metric((*labels, "output"), standing.unexplained.generation)
            checked.add_metric(labels, standing.checked_us / 1e6)
        logins = CounterMetricFamily(LOGINS[0], "Attempts to log in, by how they came out.", labels=LOGINS[1])
        for outcome, count in self._logins.items():
            logins.add_metric((outcome,), count)
        yield from (ratio, unexplained, checked, logins)

    def _follow(self) -> None:
        time.sleep(START_SECONDS)
        while True:
            try:
                self.refresh()
            except Exception:
                _log.exception("what the ledger knows cannot be read")
            time.sleep(REFRESH_SECONDS)

    async def _read(self) -> tuple[list[Standing], dict[Outcome, int]]:
        database = DirectDatabase(self._database_url or load(LedgerSettings).database_url, pool_size=1)
        since_us = time.time_ns() // 1000 - DAY_US
        try:
            found = await database.look(partial(standings, since_us=since_us))
            return found, await database.look(login_counts.read)
        finally:
            await database.close()
