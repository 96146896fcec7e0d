"""The data plane's counters, right across workers.

Owns the metrics' names and the way from settled calls to them. Rules: the hot path only adds up;
once a second the sums are written to prometheus-client's shared files
(PROMETHEUS_MULTIPROC_DIR), where whoever serves /metrics reads every worker's. Labels are bounded: no
tenant, no key, no path that a client made up. What is counted of calls is in ledger/counters.py.
"""

import asyncio
from collections import Counter as Tally
from typing import Final

from prometheus_client import Counter

from ledger.counters import CALLS, TOKENS, CallTally, take_room
from ledger.limits import Limit
from ledger.pause import to_beat
from ledger.record import CallRecord

__all__ = ["CALLS", "EXCHANGES", "REFUSALS", "REQUESTS", "TOKENS", "Metrics"]

FLUSH_SECONDS: Final = 1.0

REQUESTS: Final = Counter(
    "metergate_requests", "Requests answered, by endpoint and HTTP status.", ["endpoint", "status"]
)
EXCHANGES: Final = Counter(
    "metergate_lease_exchanges",
    "Transactions in which a worker leased limits or gave leases back, done or failed.",
    ["result"],
)
REFUSALS: Final = Counter(
    "metergate_limit_refusals",
    "Calls refused by a limit, by its scope, kind and window.",
    ["scope", "kind", "window"],
)
ALONE: Final = Counter(
    "metergate_calls_beyond_leases",
    "Calls admitted without leases, by the reason: the ledger was away and their tenant fails open.",
    ["reason"],
)


class Metrics:
    """Collects what happened; `start` begins to write it down."""

    def __init__(self) -> None:
        self._calls = CallTally()
        self._answers: Tally[tuple[str, int]] = Tally()
        self._refusals: Tally[tuple[str, str, str]] = Tally()
        self._exchanges: Tally[str] = Tally()
        self._alone = 0
        self._task: asyncio.Task[None] | None = None

    def settled(self, record: CallRecord) -> None:
        """A call was settled."""
        self._calls.add(record)

    def answered(self, endpoint: str, status: int) -> None:
        """A request was answered; `endpoint` is one of ours, or "other"."""
        self._answers[endpoint, status] += 1

    def refused(self, limit: Limit) -> None:
        """A limit refused a call."""
        self._refusals[limit.scope, limit.kind.value, limit.window.value if limit.window else ""] += 1

    def exchanged(self, is_done: bool) -> None:
        """Leases were exchanged with the ledger, or were to be."""
        self._exchanges["done" if is_done else "failed"] += 1

    def alone(self) -> None:
        """A call was admitted without the ledger."""
        self._alone += 1

    async def start(self) -> None:
        """Begins to write once a second. Raises LedgerError where there is no room for the file."""
        take_room()
        self._task = asyncio.create_task(self._flush_forever())

    async def stop(self) -> None:
        """Writes what is left."""
        if self._task:
            self._task.cancel()
            await asyncio.wait([self._task])
        self.flush()

    def flush(self) -> None:
        """Adds up and writes what was collected."""
        answers, self._answers = self._answers, Tally()
        refusals, self._refusals = self._refusals, Tally()
        exchanges, self._exchanges = self._exchanges, Tally()
        alone, self._alone = self._alone, 0
        if alone:
            ALONE.labels("ledger_away").inc(alone)
        for result, count in exchanges.items():
            EXCHANGES.labels(result).inc(count)
        for labels, count in refusals.items():
            REFUSALS.labels(*labels).inc(count)
        for (endpoint, status), count in answers.items():
            REQUESTS.labels(endpoint, status).inc(count)
        self._calls.count()

    async def _flush_forever(self) -> None:
        while True:
            await asyncio.sleep(to_beat(FLUSH_SECONDS))
            self.flush()
