"""A power cut: what was synced is there, what was not is lost or torn, and nothing is read that never was.

A cut is made by hand: from what the syncs have promised of each segment on, everything may be gone, be zeros,
be noise, or be there, block by block and in any order.
"""

import os
import random
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.errors import JournalCorrupt
from ledger.journal.frames import HEADER
from ledger.journal.reader import JournalReader
from ledger.journal.segments import START, Position, read_cursor, segment_numbers, segment_path
from ledger.journal.writer import SYNC_S, JournalWriter
from ledger.record import CallRecord, Entry
from tests.records import a_record

BLOCK_BYTES = 128
"""A disk writes more at once. So small, a cut goes through the middle of records."""


class Disk:
    """What the syncs of one journal have promised: of each segment so many bytes, and which records."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self._folder = folder
        self.promised: dict[int, int] = {}
        monkeypatch.setattr("ledger.journal.writer._sync_file", self._sync)

    def _sync(self, descriptor: int) -> None:
        file = os.fstat(descriptor)
        for number in segment_numbers(self._folder):
            if segment_path(self._folder, number).stat().st_ino == file.st_ino:
                self.promised[number] = file.st_size

    def cut(self, data: st.DataObject) -> None:
        """The power goes, and comes again."""
        noise = random.Random(data.draw(st.integers(0, 1 << 32)))
        for number in segment_numbers(self._folder):
            path = segment_path(self._folder, number)
            content = path.read_bytes()
            kept = bytearray(content[: self.promised.get(number, 0)])
            end = data.draw(st.integers(len(kept), len(content)))
            while len(kept) < end:
                block = content[len(kept) : min(end, (len(kept) // BLOCK_BYTES + 1) * BLOCK_BYTES)]
                fate = data.draw(st.sampled_from(["there", "there", "zeros", "noise"]))
                kept += {"there": block, "zeros": bytes(len(block)), "noise": noise.randbytes(len(block))}[
                    fate
                ]
            path.write_bytes(kept)


def everything(folder: Path) -> list[Entry]:
    reader = JournalReader(folder, START)
    found: list[Entry] = []
    while entries := reader.read(100).entries:
        found.extend(entries)
    reader.close()
    return found


@settings(max_examples=80, deadline=None)
@given(steps=st.lists(st.sampled_from(["append", "append", "append", "sync"]), max_size=25), data=st.data())
def test_what_was_synced_is_there_and_nothing_else_is_made_up(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str], data: st.DataObject
) -> None:
    """Guards against a record lost that was promised, a bill made of noise, and a folder that is never posted
    again because its last segment did not come to the disk.
    """
    folder = tmp_path_factory.mktemp("worker")
    records: list[CallRecord] = []
    with pytest.MonkeyPatch.context() as monkeypatch:
        disk, promised = Disk(monkeypatch, folder), 0
        writer = JournalWriter(folder, segment_bytes=900, sync_s=60)
        for step in steps:
            if step == "append":
                records.append(a_record(prompt_tokens=4 + len(records)))
                writer.append(records[-1])
            else:
                writer.sync()
                promised = len(records)
        disk.cut(data)
        writer._closing.set()
        writer._dirty.set()
        writer._thread.join()
        writer._lock.release()
    later = a_record()
    successor = JournalWriter(folder)
    successor.append(later)
    successor.close()
    found = everything(folder)
    assert found[:promised] == records[:promised] and found[-1] == later
    unsure = iter(records[promised:])
    assert all(record in unsure for record in found[promised:-1]), "not written, or not in this order"


class Pace(threading.Event):
    """In the place of what a journal's thread waits for between two syncs: it waits until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float] = []
        self.begun, self.let_go = threading.Semaphore(0), threading.Semaphore(0)

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self.waits.append(timeout)
        self.begun.release()
        assert self.let_go.acquire(timeout=30)
        return self.is_set()


def test_a_record_waits_fifty_milliseconds_for_its_sync_to_begin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards against a promise of 50 ms that later records of a group push back, or that a record which comes
    during a sync misses.
    """
    writer = JournalWriter(tmp_path)
    pace = writer._closing = Pace()
    disk = Disk(monkeypatch, tmp_path)
    syncing, synced = threading.Semaphore(0), threading.Semaphore(0)
    whole = disk._sync

    def sync(descriptor: int) -> None:
        whole(descriptor)
        syncing.release()
        assert synced.acquire(timeout=30)

    monkeypatch.setattr("ledger.journal.writer._sync_file", sync)
    writer.append(a_record())
    assert pace.begun.acquire(timeout=30)
    for _ in range(3):
        writer.append(a_record())  # they go with the first, and put nothing off
    assert disk.promised == {} and pace.waits == [SYNC_S] == [0.05]
    pace.let_go.release()
    assert syncing.acquire(timeout=30)
    assert disk.promised == {1: writer.position.offset}
    writer.append(a_record())  # too late for this one
    synced.release()
    assert pace.begun.acquire(timeout=30) and pace.waits == [SYNC_S, SYNC_S]
    pace.let_go.release()
    assert syncing.acquire(timeout=30)
    assert disk.promised == {1: writer.position.offset}
    pace.set()
    synced.release(10)
    pace.let_go.release(10)
    writer.close()


@pytest.mark.parametrize("at", range(len(HEADER)))
def test_a_damaged_header_hides_no_record(tmp_path: Path, at: int) -> None:
    """Guards against one wrong byte that keeps a folder from being posted for ever."""
    writer = JournalWriter(tmp_path)
    records = [a_record(), a_record()]
    for record in records:
        writer.append(record)
    writer.close()
    content = bytearray(segment_path(tmp_path, 1).read_bytes())
    content[at] ^= 0x40
    segment_path(tmp_path, 1).write_bytes(content)
    reader = JournalReader(tmp_path, START)
    if at == len(HEADER) - 2:  # the version: nobody can tell it from another
        with pytest.raises(JournalCorrupt, match="not written by this version"):
            reader.read(10)
        return
    batch = reader.read(10)
    assert batch.entries == records
    assert [(damage.position, damage.data) for damage in batch.damages] == [
        (Position(1, 0), bytes(content[: len(HEADER)]))
    ]
    reader.close()
    JournalWriter(tmp_path).close()
    assert everything(tmp_path) == records


@pytest.mark.parametrize("left", [b"", b"\0" * 9, b"\n"])
def test_a_cursor_that_never_reached_the_disk_is_none(tmp_path: Path, left: bytes) -> None:
    """Guards against a worker that does not start, and a folder that is not posted, until somebody removes an
    empty file.
    """
    (tmp_path / "posted").write_bytes(left)
    assert read_cursor(tmp_path) == START
    JournalWriter(tmp_path).close()
