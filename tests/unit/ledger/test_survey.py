"""What is told of journals is what lies in them, and telling changes nothing."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ledger.errors import JournalFault
from ledger.journal.flight import FLIGHT_NAME, SLOT_BYTES
from ledger.journal.segments import Position, segment_path, worker_folder, write_cursor
from ledger.journal.survey import backlog, journal_folders, owner_of, quarantine, root_of, survey
from ledger.journal.writer import JournalWriter
from proxy.flight import FlightRecorder
from tests.records import NOON_US, a_record


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A worker's journal folder."""
    return worker_folder(tmp_path, 0)


@pytest.fixture
def untouched(tmp_path: Path) -> Iterator[None]:
    """Whatever is told of it, every file is as it was."""

    def state() -> dict[Path, tuple[bytes, int]]:
        files = [path for path in tmp_path.rglob("*") if path.is_file()]
        return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files}

    yield
    before = state()
    for each in journal_folders(tmp_path):
        survey(each, 10)
    assert state() == before


@pytest.mark.usefixtures("untouched")
def test_a_live_owner_and_what_waits(folder: Path) -> None:
    """Guards against numbers that an operator would act upon, and that are not so."""
    writer = JournalWriter(folder, segment_bytes=700)
    writer.begin_holder("holder_a")
    records = [a_record(ended_us=NOON_US + number, prompt_tokens=10 + number) for number in range(7)]
    for number, record in enumerate(records):
        if number == 3:
            posted = writer.position
        writer.append(record)
    write_cursor(folder, posted)
    recorder = FlightRecorder(folder, slots=4)
    slot = recorder.take()
    assert slot is not None
    slot.begin(a_record())
    slot.count(6, 5)
    seen = survey(folder, 2)
    assert (seen.name, seen.is_owned, seen.pid) == ("worker-0", True, os.getpid())
    assert (seen.holder_id, seen.posted, seen.end) == ("holder_a", posted, writer.position)
    assert (seen.waiting, seen.oldest_us) == (4, records[3].ended_us)
    assert seen.waiting_tokens == sum(record.usage.total_tokens for record in records[3:])
    assert seen.records == records[3:5] and seen.segments > 1
    sizes = [path.stat().st_size for path in folder.glob("*.journal")]
    assert seen.file_bytes == sum(sizes) and 0 < seen.waiting_bytes < seen.file_bytes
    [flying] = seen.in_flight
    assert (flying.prompt_tokens, flying.completion_tokens) == (6, 5)
    assert not seen.found
    writer.close()


@pytest.mark.usefixtures("untouched")
def test_what_a_crash_left_is_told(folder: Path) -> None:
    """Guards against a torn record or a damaged slot that nobody hears of before it is too late to look."""
    writer = JournalWriter(folder)
    writer.append(a_record())
    end = writer.position.offset
    writer.append(a_record())
    writer.close()
    os.truncate(segment_path(folder, 1), end + 100)
    recorder = FlightRecorder(folder, slots=4)
    for _ in range(2):
        slot = recorder.take()
        assert slot is not None
        slot.begin(a_record())
    data = bytearray((folder / FLIGHT_NAME).read_bytes())
    data[SLOT_BYTES + 60] ^= 1
    (folder / FLIGHT_NAME).write_bytes(data)
    seen = survey(folder)
    assert (seen.is_owned, seen.pid, seen.waiting, len(seen.in_flight)) == (False, None, 1, 1)
    torn, slots = seen.found
    assert torn.startswith("100 bytes at the end are a torn record") and slots.startswith("1 slots of")


@pytest.mark.usefixtures("untouched")
def test_damage_and_other_versions_are_told_with_their_place(folder: Path) -> None:
    """Guards against an inspection that fails on just what it is for."""
    writer = JournalWriter(folder)
    for _ in range(3):
        writer.append(a_record())
    writer.close()
    data = bytearray(segment_path(folder, 1).read_bytes())
    data[30] ^= 0xFF
    segment_path(folder, 1).write_bytes(data)
    (folder / FLIGHT_NAME).write_bytes(b"mgflgt\x02\n" + bytes(4000))
    segment_path(folder, 2).write_bytes(b"mgjrnl\x02\n" + b"tomorrow's frames")
    seen = survey(folder)
    assert seen.waiting == 2
    damage, foreign, flight = seen.found
    assert "in segment 1 at 8 are no record" in damage
    assert "not written by this version" in foreign and "nothing behind it is posted" in foreign
    assert "cannot be read: not written by this version" in flight
    (folder / "posted").write_text("garbage")
    assert "is no cursor" in survey(folder).found[0]


def test_a_copied_folder_is_found_as_what_it_is(tmp_path: Path, folder: Path) -> None:
    """Guards against a copy, sent by somebody, that can only be looked at in a data folder."""
    writer = JournalWriter(folder)
    writer.append(a_record())
    writer.close()
    for path in (tmp_path, tmp_path / "journal", folder):
        assert [survey(each).waiting for each in journal_folders(path)] == [1]
    assert root_of(tmp_path) == root_of(tmp_path / "journal") == tmp_path / "journal"
    assert journal_folders(tmp_path / "journal" / "worker-0") == [folder]
    (tmp_path / "empty").mkdir()
    assert journal_folders(tmp_path / "empty") == []
    with pytest.raises(JournalFault, match="cannot read"):
        journal_folders(tmp_path / "nowhere")


def test_the_quarantine_is_listed_and_a_lock_names_its_owner(tmp_path: Path) -> None:
    """Guards against bytes that were set aside and forgotten."""
    assert quarantine(tmp_path) == [] and owner_of(tmp_path / "lock") == (False, None)
    (tmp_path / "quarantine").mkdir()
    (tmp_path / "quarantine" / "worker-0-000000000001-300").write_bytes(b"x" * 7)
    [kept] = quarantine(tmp_path)
    assert (kept.name, kept.file_bytes) == ("worker-0-000000000001-300", 7)


def test_an_empty_folder_has_nothing(tmp_path: Path, folder: Path) -> None:
    """Guards against a fresh folder that reads as damaged."""
    folder.mkdir(parents=True)
    seen = survey(folder)
    assert (seen.waiting, seen.segments, seen.found, seen.end) == (0, 0, [], Position(0, 8))


def test_the_backlog_is_what_is_not_posted(folder: Path) -> None:
    """Guards against an alert that comes for what is posted, or not for what waits."""
    assert backlog(folder) == (0, None)
    writer = JournalWriter(folder)
    writer.begin_holder("holder_a")
    writer.append(a_record(ended_us=NOON_US))
    first = writer.position
    writer.append(a_record(ended_us=NOON_US + 5))
    assert backlog(folder) == (writer.position.offset - 8, NOON_US)
    write_cursor(folder, first)
    assert backlog(folder) == (writer.position.offset - first.offset, NOON_US + 5)
    write_cursor(folder, writer.position)
    assert backlog(folder) == (0, None)
    writer.close()
