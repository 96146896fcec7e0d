"""The journal on real files: owners, torn tails, rotation, full disks, damage, live reading."""

import errno
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.errors import JournalCorrupt, JournalFault, JournalFull, JournalOwned
from ledger.journal import holder_file
from ledger.journal.frames import HEADER, encode_frame
from ledger.journal.reader import JournalReader
from ledger.journal.segments import (
    START,
    FileLock,
    Position,
    is_locked,
    read_cursor,
    segment_numbers,
    segment_path,
    write_cursor,
)
from ledger.journal.writer import JournalWriter
from ledger.record import CallRecord, Entry, HolderEnded
from tests.records import a_record


def everything(folder: Path) -> list[Entry]:
    reader = JournalReader(folder, START)
    found: list[Entry] = []
    while records := reader.read(100).entries:
        found.extend(records)
    reader.close()
    return found


def test_what_is_appended_is_read_at_once_and_in_order(tmp_path: Path) -> None:
    """Guards against a record that waits in a buffer of ours, where kill -9 would lose it."""
    writer = JournalWriter(tmp_path / "worker-0")
    reader = JournalReader(tmp_path / "worker-0", START)
    records = [a_record(prompt_tokens=n + 4) for n in range(25)]
    found = []
    for record in records:
        writer.append(record)
        found.extend(reader.read(10).entries)
    assert found == records
    assert reader.read(10).entries == []
    assert reader.position == writer.position
    reader.close()
    writer.close()


def test_a_folder_has_one_live_owner(tmp_path: Path) -> None:
    """Guards against two workers that write over each other."""
    writer = JournalWriter(tmp_path / "worker-0")
    assert is_locked(tmp_path / "worker-0" / "lock")
    with pytest.raises(JournalOwned, match="in use"):
        JournalWriter(tmp_path / "worker-0")
    writer.close()
    assert not is_locked(tmp_path / "worker-0" / "lock")
    JournalWriter(tmp_path / "worker-0").close()


def test_segments_rotate_and_nothing_is_lost_between_them(tmp_path: Path) -> None:
    """Guards against the record on the edge."""
    writer = JournalWriter(tmp_path, segment_bytes=1000)
    records = [a_record() for _ in range(40)]
    for record in records:
        writer.append(record)
    writer.close()
    assert len(segment_numbers(tmp_path)) > 5
    assert everything(tmp_path) == records


@pytest.mark.parametrize("cut_bytes", range(1, 40))
def test_a_torn_tail_is_cut_at_the_next_start(
    tmp_path: Path, cut_bytes: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Guards against guessing at half a record, and against doing away with bytes in silence."""
    writer = JournalWriter(tmp_path)
    kept, torn = a_record(), a_record()
    writer.append(kept)
    end = writer.position.offset
    writer.append(torn)
    writer.close()
    path = segment_path(tmp_path, 1)
    os.truncate(path, path.stat().st_size - cut_bytes)

    successor = JournalWriter(tmp_path)
    successor.append(torn)
    successor.close()
    assert path.stat().st_size == end
    assert "cut a torn record" in caplog.text
    assert everything(tmp_path) == [kept, torn]


def test_a_segment_of_another_version_is_refused(tmp_path: Path) -> None:
    """Guards against misreading what another version wrote."""
    segment_path(tmp_path, 1).write_bytes(b"mgjrnl\x02\n" + b"tomorrow's frames")
    with pytest.raises(JournalCorrupt, match="not written by this version"):
        JournalReader(tmp_path, START).read(1)
    assert JournalWriter(tmp_path).position.segment == 2
    assert segment_path(tmp_path, 1).read_bytes().endswith(b"frames")


@pytest.mark.parametrize("is_foreign", [True, False], ids=["another version", "no descriptor"])
def test_what_lies_before_a_fault_is_read_all_the_same(
    tmp_path: Path, is_foreign: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards against records that were read and thrown away with the fault behind them: the next read that
    worked moved the cursor past them, and their segment was deleted.
    """
    writer = JournalWriter(tmp_path, segment_bytes=100)
    records = [a_record() for _ in range(3)]
    for record in records:
        writer.append(record)
    writer.close()
    path = segment_path(tmp_path, 3)
    whole, kept = os.open, path.read_bytes()

    def refuse_the_last(opened: Path, *arguments: Any) -> int:
        if opened == path:
            raise OSError(errno.EMFILE, "Too many open files")
        return whole(opened, *arguments)

    if is_foreign:
        path.write_bytes(b"mgjrnl\x02\n" + b"tomorrow's frames")
    else:
        monkeypatch.setattr(os, "open", refuse_the_last)
    reader = JournalReader(tmp_path, START)
    assert reader.read(10).entries == records[:2]
    for _ in range(2):
        with pytest.raises((JournalCorrupt, OSError)):
            reader.read(10)
    monkeypatch.undo()
    path.write_bytes(kept)
    assert reader.read(10).entries == records[2:]
    reader.close()


def test_numbers_grow_although_every_segment_is_gone(tmp_path: Path) -> None:
    """Guards against a new segment that the cursor believes is posted."""
    write_cursor(tmp_path, Position(7, 9000))
    writer = JournalWriter(tmp_path)
    assert writer.position == Position(8, len(HEADER))
    writer.close()
    assert read_cursor(tmp_path) == Position(7, 9000)


def test_damage_is_kept_and_reading_goes_on_behind_it(tmp_path: Path) -> None:
    """Guards against one bad block that hides all records behind it, or that is skipped in silence."""
    writer = JournalWriter(tmp_path)
    before, hit, after = a_record(), a_record(), a_record()
    writer.append(before)
    begin = writer.position.offset
    writer.append(hit)
    end = writer.position.offset
    writer.append(after)
    writer.close()
    data = bytearray(segment_path(tmp_path, 1).read_bytes())
    data[begin + 20] ^= 0xFF
    segment_path(tmp_path, 1).write_bytes(data)

    batch = JournalReader(tmp_path, START).read(10)
    assert batch.entries == [before, after]
    assert [(damage.position, damage.data) for damage in batch.damages] == [
        (Position(1, begin), bytes(data[begin:end]))
    ]


def test_damage_longer_than_one_read_hides_nothing_behind_it(tmp_path: Path) -> None:
    """Guards against a record lost where a read of a damaged stretch ends."""
    last = a_record()
    data = HEADER + encode_frame(msgspec.msgpack.encode(a_record())) + b"\xff" * 1_500_000
    segment_path(tmp_path, 1).write_bytes(data + encode_frame(msgspec.msgpack.encode(last)))
    reader = JournalReader(tmp_path, START)
    records, damaged = [], 0
    for _ in range(10):
        batch = reader.read(10)
        records += batch.entries
        damaged += sum(len(damage.data) for damage in batch.damages)
    assert records[-1] == last and len(records) == 2
    assert damaged == 1_500_000


def test_a_full_disk_leaves_no_part_of_a_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards against half a record in the middle of a segment once there is room again."""
    writer = JournalWriter(tmp_path)
    first, second = a_record(), a_record()
    writer.append(first)
    write = os.write

    def write_a_part(descriptor: int, data: bytes) -> int:
        return write(descriptor, data[:50])

    def no_space(descriptor: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    for refusal in (write_a_part, no_space):
        monkeypatch.setattr(os, "write", refusal)
        with pytest.raises(JournalFull, match="no room"):
            writer.append(second)
    monkeypatch.undo()
    writer.append(second)
    writer.close()
    assert everything(tmp_path) == [first, second]


def test_new_calls_are_refused_before_the_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards against finding out that there is no room with a record in hand."""
    writer = JournalWriter(tmp_path)
    assert writer.has_room()
    writer.close()
    writer = JournalWriter(tmp_path, free_bytes_min=2**62)
    assert not writer.has_room()
    writer.append(a_record())
    writer.close()
    writer = JournalWriter(tmp_path, journal_bytes_max=100)
    assert not writer.has_room()
    writer.close()


def test_what_is_posted_makes_room_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards against a mark below a segment's size that, once reached, is never left: the posted part of the
    live segment stays on the disk.
    """
    monkeypatch.setattr("ledger.journal.writer.ROOM_CHECK_S", 0.0)
    writer = JournalWriter(tmp_path, journal_bytes_max=2000)
    records = 0
    while writer.has_room():
        writer.append(a_record())
        records += 1
    assert records > 3
    for _ in range(5):  # of calls that run
        writer.append(a_record())
    write_cursor(tmp_path, writer.position)
    assert writer.has_room()
    writer.close()
    assert len(everything(tmp_path)) == records + 5


def test_a_failed_sync_stops_the_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards against believing a second sync after the kernel has dropped the pages of the first."""
    writer = JournalWriter(tmp_path)

    def broken(descriptor: int) -> Any:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("ledger.journal.writer._sync_file", broken)
    with pytest.raises(JournalFault, match="cannot be synced"):
        writer.sync()
    monkeypatch.undo()
    assert not writer.has_room()
    with pytest.raises(JournalFault, match="cannot be synced"):
        writer.append(a_record())
    with pytest.raises(JournalFault, match="cannot be synced"):
        writer.close()
    assert not is_locked(tmp_path / "lock")


def test_syncing_and_rotating_do_not_trip_over_each_other(tmp_path: Path) -> None:
    """Guards against a sync of a segment that was retired and closed meanwhile: it took the journal down."""
    writer = JournalWriter(tmp_path, segment_bytes=300, sync_s=0.0)
    for _ in range(600):
        writer.append(a_record())
    writer.close()
    assert len(everything(tmp_path)) == 600


def test_an_unwritable_folder_is_said(tmp_path: Path) -> None:
    """Guards against a traceback where the data folder is a file."""
    (tmp_path / "file").write_text("")
    with pytest.raises(JournalFault, match="cannot write the journal"):
        JournalWriter(tmp_path / "file" / "worker-0")


def test_a_journal_that_was_let_go_writes_into_no_other_file(tmp_path: Path) -> None:
    """Guards against a record that comes after the end and goes to whoever got the descriptor's number."""
    journal = JournalWriter(tmp_path / "worker-0")
    journal.close()
    others = [(tmp_path / f"other{number}").open("wb") for number in range(3)]  # take the free numbers
    with pytest.raises(JournalFault):
        journal.append(a_record())
    for other in others:
        other.close()
    assert not any((tmp_path / f"other{number}").stat().st_size for number in range(3))


def test_a_dead_owners_lock_is_free(tmp_path: Path) -> None:
    """Guards against a folder that kill -9 locks for ever."""
    if (child := os.fork()) == 0:
        FileLock(tmp_path / "lock").take()
        os._exit(0)
    os.waitpid(child, 0)
    assert FileLock(tmp_path / "lock").take()


@settings(max_examples=40, deadline=None)
@given(sizes=st.lists(st.integers(min_value=1, max_value=9), min_size=1, max_size=12), data=st.data())
def test_any_split_into_reads_gives_every_record_once(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], data: st.DataObject
) -> None:
    """Guards against a record read twice or never, whatever the batches, rotations and restarts of both
    sides.
    """
    folder = tmp_path_factory.mktemp("journal")
    writer = JournalWriter(folder, segment_bytes=700)
    reader = JournalReader(folder, START)
    written: list[CallRecord] = []
    found: list[CallRecord] = []
    for size in sizes:
        for _ in range(size):
            written.append(a_record())
            writer.append(written[-1])
        if data.draw(st.booleans(), label="writer restarts"):
            writer.close()
            writer = JournalWriter(folder, segment_bytes=700)
        if data.draw(st.booleans(), label="reader restarts"):
            reader.close()
            reader = JournalReader(folder, reader.position)
        found += reader.read(data.draw(st.integers(min_value=1, max_value=12), label="read")).entries
    while records := reader.read(3).entries:
        found += records
    reader.close()
    writer.close()
    assert found == written


def test_a_disk_without_room_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Calls were refused with 503, and no log said why."""
    writer = JournalWriter(tmp_path, free_bytes_min=1 << 62)
    assert not writer.has_room()
    assert not writer.has_room()
    writer.close()
    assert [record.message for record in caplog.records] == [
        f"no room in {tmp_path}: calls are refused until its disk has some"
    ]


def test_a_holders_end_is_its_last_entry(tmp_path: Path) -> None:
    """Guards against leases that wait ten minutes after a clean stop, and an end read as a call."""
    writer = JournalWriter(tmp_path)
    writer.begin_holder("holder_1")
    record = a_record(holder_id="holder_1")
    writer.append(record)
    writer.close()
    assert everything(tmp_path) == [record, HolderEnded("holder_1")]
    assert not (tmp_path / "holder").exists()
    JournalWriter(tmp_path).close()
    assert len(everything(tmp_path)) == 2


def die(folder: Path, holder_id: str, *, at: str = "") -> None:
    """A worker that begins a holder, appends a record and is killed; or is killed at `at` on its way."""
    if (child := os.fork()) == 0:
        if at:
            setattr(holder_file, at, lambda *_: os._exit(0))
        writer = JournalWriter(folder)
        writer.begin_holder(holder_id)
        writer.append(a_record(holder_id=holder_id))
        if at == "remove":
            writer.close()
        os._exit(0)
    os.waitpid(child, 0)


def named(folder: Path) -> list[str]:
    """Who is named by each entry, ends with a cross."""
    return [
        entry.holder_id if isinstance(entry, CallRecord) else f"+{entry.holder_id}"
        for entry in everything(folder)
    ]


def test_a_killed_holder_is_ended_by_its_successor_before_anything_else(tmp_path: Path) -> None:
    """Guards against an end among the records of its holder, or of one that lives."""
    die(tmp_path, "holder_1")
    die(tmp_path, "holder_2")
    writer = JournalWriter(tmp_path)
    assert named(tmp_path) == ["holder_1", "+holder_1", "holder_2"]
    writer.begin_holder("holder_3")
    writer.begin_holder("holder_3")
    writer.append(a_record(holder_id="holder_3"))
    writer.begin_holder("holder_4")
    assert named(tmp_path)[3:] == ["+holder_2", "holder_3", "+holder_3"]
    writer.close()


def test_a_kill_between_the_steps_ends_nobody_who_lives(tmp_path: Path) -> None:
    """Guards against a crash that loses an end, or that ends the next holder at its beginning."""
    die(tmp_path, "holder_1")
    die(tmp_path, "holder_2", at="write")  # its end of the first is written, its own name is not
    writer = JournalWriter(tmp_path)
    writer.begin_holder("holder_3")
    writer.append(a_record(holder_id="holder_3"))
    assert named(tmp_path) == ["holder_1", "+holder_1", "+holder_1", "holder_3"]
    writer.close()
    die(tmp_path, "holder_4", at="remove")  # closed, but for the file
    writer = JournalWriter(tmp_path)
    writer.begin_holder("holder_5")
    assert named(tmp_path)[4:] == ["+holder_3", "holder_4", "+holder_4", "+holder_4"]
    writer.close()


def test_an_end_that_cannot_be_written_is_left_to_the_next_owner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards against a full disk at the stop that makes everybody forget whose leases are out."""
    writer = JournalWriter(tmp_path)
    writer.begin_holder("holder_1")

    def no_space(descriptor: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", no_space)
    with pytest.raises(JournalFull):
        writer.close()
    monkeypatch.undo()
    assert not is_locked(tmp_path / "lock")
    writer = JournalWriter(tmp_path)
    writer.begin_holder("holder_2")
    assert named(tmp_path) == ["+holder_1"]
    writer.close()
