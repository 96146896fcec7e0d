"""The flight recorder: what the calls in flight have used so far, where kill -9 leaves it.

Owns the live worker's mapped file; its format and what becomes of it are `ledger.journal`'s. Rules:

- A call holds a slot from its admission until its settled record is in the journal. No slot, no call.
- A count is two stores into mapped memory: no system call, no lock, nothing allocated.
- The file has its place on the disk before it is mapped: a store into a hole of a full disk is SIGBUS. The
  place is only reserved, not written: an idle worker touches a page or two of it.
- It guards against the death of the process. At a power cut it is as old as the kernel's last write of it.
"""

import errno
import mmap
import os
from pathlib import Path
from typing import Final

import msgspec

from ledger.errors import JournalFault
from ledger.journal.flight import (
    FLIGHT_NAME,
    FRAME_AT,
    FREE,
    NAME_BYTES_MAX,
    SEEN_AT,
    SLOT_BYTES,
    WORD_BYTES,
    RecordTooLong,
    encode_header,
    encode_name,
    encode_record,
    file_bytes,
    mark_of,
    names_at,
    state_of,
)
from ledger.journal.segments import sync_folder
from ledger.record import CallRecord
from proxy.capacity import CALLS_MAX
from proxy.errors import FieldRefused

_SHORT_CHARS: Final = NAME_BYTES_MAX // 4

_SLOT_WORDS: Final = SLOT_BYTES // WORD_BYTES
_FRAME_WORDS: Final = FRAME_AT // WORD_BYTES
_NOWHERE: Final = _SLOT_WORDS - _FRAME_WORDS
"""The last words of the header, which nobody reads: what is told of a call after its end goes there."""


class Slot:
    """One call's slot. Whatever is told of it after `free` is without effect."""

    __slots__ = ("_at", "_number", "_recorder", "_words")

    def __init__(self, recorder: "FlightRecorder", words: "memoryview[int]", number: int) -> None:
        self._recorder = recorder
        self._words = words
        self._number = number
        self._at = number * _SLOT_WORDS

    def begin(self, record: CallRecord) -> None:
        """From here on the call is in the book, whatever becomes of this process. For each time it is sent.

        `record`: the call as it is known now; its counts and its end are found out later. Raises
        FieldRefused where it does not fit.
        """
        try:
            frame = encode_record(self._recorder.shortened(record))
        except RecordTooLong as error:
            raise FieldRefused("The model's name is too long to be recorded.", "model") from error
        at, words = self._at, self._words
        if at == _NOWHERE:
            return
        words[at] = FREE
        words[at + 1] = words[at + 2] = words[at + 3] = 0
        self._recorder.write(at * WORD_BYTES + FRAME_AT, frame)
        self._recorder.seen(record.started_us)
        words[at] = state_of(frame)

    def count(self, prompt_tokens: int, completion_tokens: int) -> None:
        """The usage so far. For every chunk."""
        at, words = self._at, self._words
        try:
            words[at + 1] = prompt_tokens
            words[at + 2] = completion_tokens
        except ValueError:  # below zero or past 64 bits: the engine's nonsense is no count
            return

    def first_byte(self, now_us: int) -> None:
        """The answer has begun."""
        self._words[self._at + 3] = now_us
        self._recorder.seen(now_us)

    def free(self) -> None:
        """The call is over: its record is in the journal, or it leaves none. Twice is once."""
        if self._at != _NOWHERE:
            self._words[self._at] = FREE
            self._at = _NOWHERE
            self._recorder.give_back(self._number)


class FlightRecorder:
    """The slots of one worker. Used from one thread."""

    def __init__(self, folder: Path, holder_id: str = "", *, slots: int = CALLS_MAX) -> None:
        """Makes the file anew, 2 KiB a slot; whoever calls has the folder, and has recovered what lay there.

        Blocks for a millisecond. Raises JournalFault where there is no room.
        """
        self._path = folder / FLIGHT_NAME
        self._slots = slots
        self._used = 0  # the slots above were never taken: their pages are untouched
        self._given_back: list[int] = []
        try:
            self._map = _new_file(self._path, slots, holder_id)
        except OSError as error:
            raise JournalFault(f"cannot write {self._path}: {error.strerror}") from error
        self._words: memoryview[int] = memoryview(self._map).cast("Q")
        self._seen_at: Final = SEEN_AT // WORD_BYTES
        self._marks: dict[str, str] = {}  # of the long names that are in the file: few, and never taken out
        self._names_begin: Final = names_at(slots)
        self._names_end = self._names_begin

    @property
    def is_full(self) -> bool:
        """Whether there is no slot for another call."""
        return not self._given_back and self._used == self._slots

    @property
    def in_flight(self) -> int:
        """How many slots are taken."""
        return self._used - len(self._given_back)

    def take(self) -> Slot | None:
        """A slot for a call; None where all are taken. Nothing of the call is in it before `begin`."""
        if self._given_back:
            number = self._given_back.pop()
        elif self._used < self._slots:
            self._used += 1
            number = self._used
        else:
            return None
        return Slot(self, self._words, number)

    def close(self) -> None:
        """Puts the file away. Where calls are still in it, it stays for the next owner to recover."""
        if not self.in_flight:
            self._path.unlink(missing_ok=True)

    # For slots.

    def shortened(self, record: CallRecord) -> CallRecord:
        """The record with marks in the place of long names. Raises RecordTooLong where there is no room."""
        model, backend = record.model, record.backend
        if len(model) <= _SHORT_CHARS and len(backend) <= _SHORT_CHARS and model[:1] != "\0":
            return record
        return msgspec.structs.replace(record, model=self._short(model), backend=self._short(backend))

    def write(self, offset: int, frame: bytes) -> None:
        """Copies a frame to its place."""
        self._map[offset : offset + len(frame)] = frame

    def seen(self, now_us: int) -> None:
        """The process was alive then: a call that it leaves had not ended before."""
        self._words[self._seen_at] = now_us

    def give_back(self, number: int) -> None:
        """The slot is free."""
        self._given_back.append(number)

    def _short(self, name: str) -> str:
        mark = self._marks.get(name)
        if mark is None:
            frame = encode_name(name)
            if frame is None:
                return name
            if self._names_end + len(frame) > len(self._map):
                raise RecordTooLong("no room for one more long name")
            self.write(self._names_end, frame)
            mark = self._marks[name] = mark_of(self._names_end - self._names_begin)
            self._names_end += len(frame)
        return mark


def _new_file(path: Path, slots: int, holder_id: str) -> mmap.mmap:
    """A file with a header and free slots, in its place at once and as a whole. Raises OSError."""
    size = file_bytes(slots)
    draft = path.with_name(f".{path.name}")
    descriptor = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        _reserve(descriptor, size)
        os.pwrite(descriptor, encode_header(slots, holder_id), 0)
        os.fsync(descriptor)
        draft.rename(path)
        sync_folder(path.parent)
        return mmap.mmap(descriptor, size)
    except OSError:
        draft.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)


def _reserve(descriptor: int, size: int) -> None:
    """Has the file system keep room for the whole file, which reads as zeros. Raises OSError."""
    reserve = getattr(os, "posix_fallocate", None)  # macOS has none
    if reserve is not None:
        try:
            reserve(descriptor, 0, size)
            return
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                raise
    zeros = bytes(1 << 20)
    for offset in range(0, size, len(zeros)):
        wanted = min(len(zeros), size - offset)
        if os.pwrite(descriptor, zeros[:wanted], offset) != wanted:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
