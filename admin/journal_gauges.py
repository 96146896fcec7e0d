"""Gauges of the journals, read from the data folder when somebody asks: how much waits, and for how long.

For the metrics page, which has no part in the calls: it looks at files and takes nobody's lock. A folder that
cannot be read gives no number, and is the poster's to complain of.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ledger.errors import JournalFault
from ledger.journal.segments import FOLDER_PREFIX, folders, journal_root
from ledger.journal.survey import backlog, quarantine

WAITING_BYTES: Final = "metergate_journal_waiting_bytes"
OLDEST_SECONDS: Final = "metergate_journal_oldest_seconds"
FREE_BYTES: Final = "metergate_disk_free_bytes"
QUARANTINED: Final = "metergate_quarantined_files"


class JournalGauges(Collector):
    """Looks anew at each scrape: some 50 us a folder."""

    def __init__(self, data_dir: Path, now_us: Callable[[], int]) -> None:
        """`now_us`: microseconds since the epoch."""
        self._data_dir = data_dir
        self._now_us = now_us

    def collect(self) -> Iterator[Metric]:
        """What is there now."""
        waiting = GaugeMetricFamily(
            WAITING_BYTES, "Bytes of settled calls that are not in the ledger yet.", labels=["worker"]
        )
        oldest = GaugeMetricFamily(
            OLDEST_SECONDS, "Age of the oldest settled call that is not in the ledger yet.", labels=["worker"]
        )
        for folder in folders(self._data_dir):
            try:
                waiting_bytes, oldest_us = backlog(folder)
            except (JournalFault, OSError):
                continue
            worker = folder.name.removeprefix(FOLDER_PREFIX)
            waiting.add_metric([worker], waiting_bytes)
            age_us = 0 if oldest_us is None else max(0, self._now_us() - oldest_us)
            oldest.add_metric([worker], age_us / 1_000_000)
        yield waiting
        yield oldest
        disk = os.statvfs(self._data_dir)
        yield GaugeMetricFamily(
            FREE_BYTES, "Bytes free on the disk of the data folder.", value=disk.f_bavail * disk.f_frsize
        )
        yield GaugeMetricFamily(
            QUARANTINED,
            "Files of bytes that were no record, kept for people.",
            value=len(quarantine(journal_root(self._data_dir))),
        )
