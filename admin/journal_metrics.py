"""What waits in the journals of this host, looked up when /metrics is asked: whether or not a poster lives.

Owns two gauges: how old the oldest settled call is that is not in the ledger, and how many bytes wait with
it. It only reads; what cannot be read just now is left out, the poster says so.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ledger.errors import JournalCorrupt, JournalFault
from ledger.journal.frames import HEADER
from ledger.journal.reader import JournalReader
from ledger.journal.segments import Position, folders, read_cursor, segment_numbers, segment_path
from ledger.record import CallRecord

LOOKED_AT = 100
"""Entries that are looked at for the first one with a time: ends of workers have none."""


class JournalMetrics(Collector):
    """A collector for a registry. `now_us` is the clock."""

    def __init__(self, data_dir: Path, now_us: Callable[[], int]) -> None:
        """`data_dir` is the data folder."""
        self._data_dir = data_dir
        self._now_us = now_us

    def describe(self) -> list[Metric]:
        """Nothing is read when it is registered."""
        return []

    def collect(self) -> Iterator[Metric]:
        """The two gauges."""
        waiting_bytes, oldest_us = 0, None
        for folder in folders(self._data_dir):
            try:
                posted = read_cursor(folder)
                waiting = _bytes_after(folder, posted)
                if waiting:
                    waiting_bytes += waiting
                    ended_us = _first_ended_us(folder, posted)
                    if ended_us is not None:
                        oldest_us = min(ended_us, oldest_us or ended_us)
            except (JournalFault, JournalCorrupt, OSError):
                continue
        lag_s = 0.0 if oldest_us is None else max(0.0, (self._now_us() - oldest_us) / 1e6)
        yield GaugeMetricFamily(
            "metergate_posting_lag_seconds",
            "How long ago the oldest call ended that is settled and not in the ledger; 0 where none waits.",
            value=lag_s,
        )
        yield GaugeMetricFamily(
            "metergate_journal_waiting_bytes",
            "Bytes of settled calls in this host's journals that are not in the ledger.",
            value=waiting_bytes,
        )


def _bytes_after(folder: Path, posted: Position) -> int:
    total = 0
    for number in segment_numbers(folder):
        if number >= posted.segment:
            size = segment_path(folder, number).stat().st_size
            begin = posted.offset if number == posted.segment else len(HEADER)
            total += max(0, size - begin)
    return total


def _first_ended_us(folder: Path, posted: Position) -> int | None:
    reader = JournalReader(folder, posted)
    try:
        entries = reader.read(LOOKED_AT).entries
    finally:
        reader.close()
    return next((entry.ended_us for entry in entries if isinstance(entry, CallRecord)), None)
