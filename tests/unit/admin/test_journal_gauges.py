"""The gauges of the journals say what lies in the data folder at the scrape."""

from pathlib import Path

from prometheus_client import CollectorRegistry

from admin.journal_gauges import JournalGauges
from ledger.journal.segments import worker_folder, write_cursor
from ledger.journal.writer import JournalWriter
from tests.records import NOON_US, a_record


def test_what_waits_is_told_for_each_worker(tmp_path: Path) -> None:
    """Guards against an outage of the database that no alert can see, and a scrape that a broken folder
    ends.
    """
    now_us = NOON_US
    registry = CollectorRegistry()
    registry.register(JournalGauges(tmp_path, lambda: now_us))
    value = registry.get_sample_value
    assert value("metergate_journal_waiting_bytes", {"worker": "0"}) is None
    assert value("metergate_disk_free_bytes") is not None and value("metergate_quarantined_files") == 0
    writers = [JournalWriter(worker_folder(tmp_path, worker)) for worker in range(3)]
    writers[0].append(a_record(ended_us=NOON_US))
    (worker_folder(tmp_path, 2) / "posted").write_text("garbage")
    (tmp_path / "journal" / "quarantine").mkdir()
    (tmp_path / "journal" / "quarantine" / "worker-0-flight-1").write_text("bytes")
    now_us += 90_500_000
    waiting = writers[0].position.offset - 8
    assert value("metergate_journal_waiting_bytes", {"worker": "0"}) == waiting
    assert value("metergate_journal_oldest_seconds", {"worker": "0"}) == 90.5
    assert value("metergate_journal_waiting_bytes", {"worker": "1"}) == 0
    assert value("metergate_journal_oldest_seconds", {"worker": "1"}) == 0
    assert value("metergate_journal_waiting_bytes", {"worker": "2"}) is None
    assert value("metergate_quarantined_files") == 1
    write_cursor(worker_folder(tmp_path, 0), writers[0].position)
    assert value("metergate_journal_waiting_bytes", {"worker": "0"}) == 0
    for writer in writers:
        writer.close()
