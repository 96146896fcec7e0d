"""Whether the ledger answers this worker, for /metrics.

Owns one gauge in prometheus-client's shared files. A worker that is started again goes on with the number,
and with the series, of the one before it.
"""

from typing import Final

from prometheus_client import Gauge

from ledger.counters import take_room

FILE_BYTES: Final = 64 << 10
"""Of one series; prometheus-client takes no less."""

LEDGER_UP: Final = Gauge(
    "metergate_ledger_up",
    "Whether the ledger's database answers the worker: 1 or 0.",
    ["worker"],
    multiprocess_mode="mostrecent",
)


class LedgerGauge:
    """One worker's. `start` before the first `set`."""

    def __init__(self, worker: int) -> None:
        self._worker: Final = str(worker)

    def start(self, *, is_up: bool) -> None:
        """Takes room for the file. Raises LedgerError where there is none."""
        take_room("gauge_mostrecent", FILE_BYTES)
        self.set(is_up)

    def set(self, is_up: bool) -> None:
        """The ledger answers from now on, or does not."""
        LEDGER_UP.labels(self._worker).set(1.0 if is_up else 0.0)
