"""The writer: one live owner for each folder, one `os.write` for each record.

`append` returns when the kernel has the record: nothing that happens to this process can lose it any more. A
thread syncs to disk what was appended, in groups, beginning at most `sync_s` after the first of a group: that
much is at risk to a power cut. It never waits for the database and knows nothing of it.

At start the folder of a dead owner is taken over: a torn tail is cut and said so, and a new segment begins.

Who holds leases says so with `begin_holder`: its id is kept in the file `holder`, so that the end of it is
written here whatever becomes of this process: by itself when it closes, or by the next owner of the folder,
which is the poster where no worker comes (orphans.py).
"""

import errno
import logging
import os
import threading
import time
from pathlib import Path
from typing import Final

import msgspec

from ledger.errors import JournalFault, JournalFull
from ledger.journal import holder_file
from ledger.journal.frames import HEADER, encode_frame, is_other_version, is_torn_tail, whole_frames
from ledger.journal.segments import (
    PATIENCE_S,
    START,
    FileLock,
    Position,
    read_cursor,
    segment_numbers,
    segment_path,
    sync_folder,
    waiting_in,
)
from ledger.record import Entry, HolderEnded

logger = logging.getLogger(__name__)

SEGMENT_BYTES: Final = 64 * 1024 * 1024  # about 200,000 records: few files, and none too large to read whole
SYNC_S: Final = 0.05
# Under this, new calls are refused while the records of those in flight (some 300 bytes each) still find
# room.
FREE_BYTES_MIN: Final = 128 * 1024 * 1024
JOURNAL_BYTES_MAX: Final = (
    8 * 1024 * 1024 * 1024
)  # some 25 million records: a day without a database at 300 a second
ROOM_CHECK_S: Final = 1.0

_sync_file: Final = getattr(os, "fdatasync", os.fsync)  # macOS has fsync alone
_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class JournalWriter:
    """Appends records to the journal of one folder. Used from one thread; syncs from its own."""

    def __init__(
        self,
        folder: Path,
        *,
        segment_bytes: int = SEGMENT_BYTES,
        sync_s: float = SYNC_S,
        free_bytes_min: int = FREE_BYTES_MIN,
        journal_bytes_max: int = JOURNAL_BYTES_MAX,
        patience_s: float = PATIENCE_S,
    ) -> None:
        """Takes the folder over. Raises JournalOwned when a live process has it for longer than
        `patience_s`, and JournalFault when it cannot write.
        """
        self._folder = folder
        self._segment_bytes = segment_bytes
        self._sync_s = sync_s
        self._free_bytes_min = free_bytes_min
        self._journal_bytes_max = journal_bytes_max
        self._encode = msgspec.msgpack.Encoder().encode
        self._lock = FileLock(folder / "lock")
        try:
            self._lock.take_or_raise(f"the journal {folder}", patience_s)
            number = _take_over(folder)
            self._descriptor = _new_segment(folder, number)
        except OSError as error:
            self._lock.release()
            raise JournalFault(f"cannot write the journal {folder}: {error.strerror}") from error
        except JournalFault:
            self._lock.release()
            raise
        self._segment = number
        self._offset = len(HEADER)
        self._holder_id: str | None = None
        self._retired: list[int] = []  # descriptors of full segments, to be synced and closed
        self._syncing = threading.Lock()  # among those who sync; appending never waits for it
        self._sync_fault: OSError | None = None
        self._room = True
        self._room_until = 0.0
        self._dirty = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._sync_in_groups, name=f"sync {folder.name}", daemon=True)
        self._thread.start()

    @property
    def position(self) -> Position:
        """Where the next record will begin."""
        return Position(self._segment, self._offset)

    def begin_holder(self, holder_id: str) -> None:
        """From here on, records may be charged to this holder; before its first lease. Blocks; raises
        JournalFault.

        A holder before it in this folder has ended: nothing of it comes after. A crash between the steps
        leaves the earlier one in the file, and its end is written again, which changes nothing.
        """
        assert not self._closing.is_set()
        try:
            self._end_other_than(holder_id)
            holder_file.write(self._folder, holder_id)
        except OSError as error:
            raise self._fault(error) from error
        self._holder_id = holder_id

    def end_holder_before(self) -> None:
        """The same for an owner that is no holder: what an earlier one has on lease goes back. Blocks; raises
        JournalFault.
        """
        assert self._holder_id is None and not self._closing.is_set()
        try:
            self._end_other_than(None)
            holder_file.remove(self._folder)
        except OSError as error:
            raise self._fault(error) from error

    def append(self, record: Entry) -> None:
        """Hand one record to the kernel: about 5 us.

        Raises JournalFull when there is no room (nothing of the record is left then), and JournalFault when
        the disk fails. Callers keep the record then: it exists nowhere else.
        """
        if self._sync_fault is not None:
            raise JournalFault(f"the journal {self._folder} cannot be synced: {self._sync_fault.strerror}")
        if self._offset >= self._segment_bytes:
            self._rotate()
        frame = encode_frame(self._encode(record))
        try:
            written = os.write(self._descriptor, frame)
            if written != len(frame):
                os.ftruncate(self._descriptor, self._offset)
        except OSError as error:
            raise self._fault(error) from error
        if written != len(frame):
            raise JournalFull(f"no room for a record in {self._folder}")
        self._offset += written
        if not self._dirty.is_set():
            self._dirty.set()

    def has_room(self) -> bool:
        """Whether new calls may be admitted: well before a record could fail. Looks at the disk once a
        second.
        """
        now = time.monotonic()
        if now >= self._room_until:
            had_room, self._room = self._room, self._sync_fault is None and self._measure_room()
            if had_room and not self._room:
                logger.error("no room in %s: calls are refused until its disk has some", self._folder)
            elif self._room and not had_room:
                logger.warning("room in %s again: calls are taken", self._folder)
            self._room_until = now + ROOM_CHECK_S
        return self._room

    def sync(self) -> None:
        """Have everything appended so far on the disk before returning. Blocks; raises JournalFault."""
        self._sync()
        if self._sync_fault is not None:
            raise JournalFault(f"the journal {self._folder} cannot be synced: {self._sync_fault.strerror}")

    def close(self) -> None:
        """Write the holder's end, sync, and let the folder go. Blocks; raises JournalFault when the end or
        the last sync failed: then the next owner writes the end.
        """
        if self._closing.is_set():
            return
        self._closing.set()
        self._dirty.set()
        self._thread.join()
        try:
            if self._holder_id is not None:
                self.append(HolderEnded(self._holder_id))
            self.sync()
            if self._holder_id is not None:
                holder_file.remove(self._folder)
        finally:
            os.close(self._descriptor)
            self._descriptor = -1  # the number may be another file's soon: nothing of ours is written there
            self._lock.release()

    def _end_other_than(self, holder_id: str | None) -> None:
        earlier_id = holder_file.read(self._folder)
        if earlier_id is not None and earlier_id != holder_id:
            self.append(HolderEnded(earlier_id))
            self.sync()

    def _rotate(self) -> None:
        try:
            descriptor = _new_segment(self._folder, self._segment + 1)
        except OSError as error:
            raise self._fault(error) from error
        # In this order: who syncs looks at the retired first and closes them, and then at the one in use.
        full, self._descriptor = self._descriptor, descriptor
        self._segment += 1
        self._offset = len(HEADER)
        self._retired.append(full)

    def _fault(self, error: OSError) -> JournalFault:
        if error.errno in _FULL:
            self._room_until = 0.0
            return JournalFull(f"no room for a record in {self._folder}: {error.strerror}")
        return JournalFault(f"cannot write the journal {self._folder}: {error.strerror}")

    def _measure_room(self) -> bool:
        try:
            disk = os.statvfs(self._folder)
        except OSError:
            return False
        if disk.f_bavail * disk.f_frsize < self._free_bytes_min:
            return False
        try:
            posted = read_cursor(self._folder)
        except JournalFault:  # the poster complains of it, and posts nothing
            posted = START
        return waiting_in(self._folder, posted) <= self._journal_bytes_max

    def _sync_in_groups(self) -> None:
        while not self._closing.is_set():
            self._dirty.wait()
            self._closing.wait(self._sync_s)
            self._dirty.clear()
            self._sync()

    def _sync(self) -> None:
        """Sync what is open. Never tried again once it failed: the kernel may have dropped the pages."""
        with self._syncing:
            if self._sync_fault is not None:
                return
            try:
                while self._retired:
                    _sync_file(self._retired[0])
                    os.close(self._retired.pop(0))
                # Looked up only now: a segment retired meanwhile stays open until the next turn of this loop.
                _sync_file(self._descriptor)
            except OSError as error:
                self._sync_fault = error
                self._room_until = 0.0
                logger.error("the journal %s cannot be synced: %s", self._folder, error.strerror)


def _take_over(folder: Path) -> int:
    """Cut the torn tail of the last segment, if it has one; the number of the segment to begin."""
    numbers = segment_numbers(folder)
    last = numbers[-1] if numbers else 0
    if numbers:
        path = segment_path(folder, last)
        data = path.read_bytes()
        if len(data) < len(HEADER) or not data.strip(b"\0"):  # nothing of it reached the disk
            path.unlink()
        elif not is_other_version(data[: len(HEADER)]):
            _cut_torn_tail(path, data)
    return max(last, read_cursor(folder).segment) + 1


def _cut_torn_tail(path: Path, data: bytes) -> None:
    _, end, fault = whole_frames(data, len(HEADER))
    if fault is None:
        return
    if not is_torn_tail(data, end):
        # Not what a crash leaves: the poster sets the bytes aside and goes on behind them.
        logger.error("%s holds bytes that are no record at %d", path, end)
        return
    logger.warning("%s: cut a torn record of %d bytes, left by a crash", path, len(data) - end)
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.ftruncate(descriptor, end)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _new_segment(folder: Path, number: int) -> int:
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    descriptor = os.open(segment_path(folder, number), flags, 0o600)
    try:
        os.write(descriptor, HEADER)
        sync_folder(folder)
    except OSError:
        os.close(descriptor)
        segment_path(folder, number).unlink()
        raise
    return descriptor
