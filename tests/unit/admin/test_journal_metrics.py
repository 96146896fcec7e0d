"""What /metrics says of the journals."""

from pathlib import Path

from prometheus_client import CollectorRegistry

from admin.journal_metrics import JournalMetrics
from ledger.journal.reader import JournalReader
from ledger.journal.segments import START, write_cursor
from ledger.journal.writer import JournalWriter
from ledger.record import HolderEnded
from tests.records import NOON_US, a_record

NOW_US = NOON_US + 100_000_000


def gauges(data_dir: Path) -> tuple[float | None, float | None]:
    """(lag in seconds, bytes waiting)"""
    registry = CollectorRegistry()
    registry.register(JournalMetrics(data_dir, lambda: NOW_US))
    names = ("metergate_posting_lag_seconds", "metergate_journal_waiting_bytes")
    lag, waiting = (registry.get_sample_value(name) for name in names)
    return lag, waiting


def test_the_oldest_unposted_call_of_all_folders_is_the_lag(tmp_path: Path) -> None:
    """Guards against a poster that is behind, or dead, and nobody sees it until finance does."""
    assert gauges(tmp_path) == (0.0, 0.0)
    for worker, ended_us in ((0, NOW_US - 7_000_000), (1, NOW_US - 90_000_000)):
        folder = tmp_path / "journal" / f"worker-{worker}"
        writer = JournalWriter(folder, segment_bytes=500)
        writer.append(HolderEnded("holder_x"))
        for number in range(5):
            writer.append(a_record(ended_us=ended_us + number))
        writer.close()
        size = sum(path.stat().st_size for path in folder.glob("*.journal"))
        if worker == 0:
            lag, waiting = gauges(tmp_path)
            assert lag == 7.0
            assert waiting is not None and 0 < waiting < size
    assert gauges(tmp_path)[0] == 90.0
    for folder in (tmp_path / "journal").iterdir():
        reader = JournalReader(folder, START)
        write_cursor(folder, reader.read(100).end)
        reader.close()
    assert gauges(tmp_path) == (0.0, 0.0)


def test_a_folder_that_cannot_be_read_hides_no_other(tmp_path: Path) -> None:
    """Guards against a scrape that fails because of one mangled cursor."""
    for worker in range(2):
        folder = tmp_path / "journal" / f"worker-{worker}"
        writer = JournalWriter(folder)
        writer.append(a_record(ended_us=NOW_US - 5_000_000))
        writer.close()
    (tmp_path / "journal" / "worker-0" / "posted").write_text("nonsense")
    assert gauges(tmp_path)[0] == 5.0
