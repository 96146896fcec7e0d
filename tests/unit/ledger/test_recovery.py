"""What a dead worker left in flight goes into the journal, once, and the file goes after that."""

import os
from pathlib import Path
from typing import Any

import pytest

from ledger.errors import JournalFault, JournalFull
from ledger.journal.flight import FLIGHT_NAME, SLOT_BYTES
from ledger.journal.reader import JournalReader
from ledger.journal.recovery import recover_into
from ledger.journal.segments import START
from ledger.journal.writer import JournalWriter
from ledger.record import CallRecord, Ending
from ledger.usage import UsageSource
from proxy.flight import FlightRecorder
from tests.records import NOON_US, a_record


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A worker's journal folder."""
    path = tmp_path / "journal" / "worker-0"
    path.mkdir(parents=True)
    return path


def in_flight(folder: Path, *records: CallRecord, counts: tuple[int, int] = (7, 3)) -> FlightRecorder:
    """A recorder whose owner is dead: nobody closes it."""
    recorder = FlightRecorder(folder, slots=8)
    for record in records:
        slot = recorder.take()
        assert slot is not None
        slot.begin(record)
        slot.first_byte(NOON_US + 9)
        slot.count(*counts)
    return recorder


def journaled(folder: Path) -> list[CallRecord]:
    reader = JournalReader(folder, START)
    batch = reader.read(100)
    reader.close()
    return [entry for entry in batch.entries if isinstance(entry, CallRecord)]


def recovered(folder: Path) -> list[CallRecord]:
    journal = JournalWriter(folder)
    try:
        return recover_into(journal, folder)
    finally:
        journal.close()


def kept(folder: Path) -> list[Path]:
    return [*(folder.parent / "quarantine").glob("*")]


def test_calls_in_flight_are_journaled_once(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Guards against tokens that were relayed and are in no book, and against having them there twice."""
    calls = [a_record(), a_record(streamed=False)]
    in_flight(folder, *calls)
    assert [record.request_id for record in recovered(folder)] == [call.request_id for call in calls]
    assert recovered(folder) == []
    found = journaled(folder)
    assert [record.request_id for record in found] == [call.request_id for call in calls]
    assert {record.ending for record in found} == {Ending.KILLED}
    assert {record.usage_source for record in found} == {UsageSource.RECOVERED}
    assert {(record.prompt_tokens, record.completion_tokens) for record in found} == {(7, 3)}
    assert "recovered 2 calls" in caplog.text and not kept(folder)


def test_a_folder_without_a_recorder_is_as_before(folder: Path) -> None:
    """Guards against a first start that fails, and one after a version without recorders."""
    assert recovered(folder) == [] and journaled(folder) == []


def test_a_journal_that_takes_nothing_leaves_the_calls_where_they_are(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards against a full disk at the restart: the calls must not go with the file."""
    in_flight(folder, a_record())

    def refuse(*_: Any) -> None:
        raise JournalFull("no room")

    with monkeypatch.context() as patch:
        patch.setattr(JournalWriter, "append", refuse)
        with pytest.raises(JournalFull):
            recovered(folder)
        patch.undo()
        patch.setattr(JournalWriter, "sync", refuse)
        with pytest.raises(JournalFull):
            recovered(folder)
    assert len(recovered(folder)) == 1


def test_a_crash_before_the_file_goes_recovers_the_same_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards against a second recovery under new ids: posting knows a call by its request id."""
    in_flight(folder, a_record())

    def crash(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", crash)
        with pytest.raises(KeyboardInterrupt):
            recovered(folder)
    recovered(folder)
    first, second = journaled(folder)
    assert first == second


def test_a_damaged_slot_is_kept_and_hides_no_other(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Guards against one bad slot that loses all, or that is skipped in silence."""
    calls = [a_record(), a_record(), a_record()]
    in_flight(folder, *calls)
    path = folder / FLIGHT_NAME
    data = bytearray(path.read_bytes())
    data[2 * SLOT_BYTES + 60] ^= 1
    path.write_bytes(data)
    found = [record.request_id for record in recovered(folder)]
    assert found == [calls[0].request_id, calls[2].request_id]
    assert [file.read_bytes() for file in kept(folder)] == [bytes(data)]
    assert "slots 2 of" in caplog.text and not path.exists()


@pytest.mark.parametrize("content", [b"", b"mgflgt\x02\n" + bytes(4000), bytes(4096)])
def test_a_file_of_another_version_is_kept_and_said(
    folder: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """Guards against a downgrade that misreads, or that never starts again."""
    (folder / FLIGHT_NAME).write_bytes(content)
    assert recovered(folder) == []
    assert [file.read_bytes() for file in kept(folder)] == [content]
    assert "not written by this version" in caplog.text


def test_a_damaged_header_is_kept_and_costs_no_call(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Guards against calls that go to quarantine with a header that nobody needs."""
    calls = [a_record(), a_record(model="m" * 3000)]
    in_flight(folder, *calls)
    data = bytearray((folder / FLIGHT_NAME).read_bytes())
    data[20] ^= 1
    (folder / FLIGHT_NAME).write_bytes(data)
    found = recovered(folder)
    assert [(record.request_id, record.model) for record in found] == [
        (call.request_id, call.model) for call in calls
    ]
    assert [file.read_bytes() for file in kept(folder)] == [bytes(data)]
    assert "the header of" in caplog.text and "every slot could be read" in caplog.text
    assert not (folder / FLIGHT_NAME).exists()


def test_a_file_that_is_cut_short_is_kept_and_said(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Guards against slots that are gone without a word."""
    in_flight(folder, a_record(), a_record())
    os.truncate(folder / FLIGHT_NAME, 2 * SLOT_BYTES)
    assert len(recovered(folder)) == 1
    assert len(kept(folder)) == 1 and "cut short" in caplog.text


def test_a_recorder_that_cannot_be_read_stops_the_start(folder: Path) -> None:
    """Guards against a start that writes over what it could not read."""
    (folder / FLIGHT_NAME).mkdir()
    with pytest.raises(JournalFault, match="cannot read"):
        recovered(folder)
