"""The reader: entries from a position on, in order, from live and dead journals alike.

A frame that ends early in the last segment is one that is still being written (or that a crash tore): not
yet, never an error. In a segment that others follow nothing will come any more, so a torn tail there is
stepped over. Bytes that are no frame are given to the caller with their place: it keeps them for people, and
reading goes on at the next whole frame.
"""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from ledger.errors import JournalCorrupt
from ledger.journal.frames import (
    FRAME_HEAD_BYTES,
    HEADER,
    PAYLOAD_BYTES_MAX,
    Fault,
    decode_frame,
    is_other_version,
)
from ledger.journal.segments import Position, segment_numbers, segment_path
from ledger.record import CallRecord, Entry, HolderEnded

READ_BYTES: Final = 1024 * 1024
ARRAY_OF_ONE: Final = b"\x91"  # msgpack: how the end of a holder begins; a record has many more fields
FRAME_BYTES_MAX: Final = FRAME_HEAD_BYTES + PAYLOAD_BYTES_MAX


@dataclass(frozen=True, slots=True)
class Damage:
    """Bytes of a segment that are no record."""

    position: Position
    data: bytes


@dataclass(slots=True)
class Batch:
    """What a read gave: the entries, where the next read begins, and what could not be read."""

    end: Position
    entries: list[Entry] = field(default_factory=list)
    damages: list[Damage] = field(default_factory=list)


class JournalReader:
    """Reads one folder from a position on, keeping the segment it reads open."""

    def __init__(self, folder: Path, position: Position) -> None:
        """`position` is the cursor's, or an earlier batch's end."""
        self.folder = folder
        self.position = position
        self._decode_record = msgspec.msgpack.Decoder(CallRecord).decode
        self._decode_end = msgspec.msgpack.Decoder(HolderEnded).decode
        self._open: tuple[int, int] | None = None  # segment number, descriptor

    def read(self, entries_max: int) -> Batch:
        """Up to `entries_max` entries that are there now; advances. Raises JournalCorrupt for a foreign
        segment and OSError where there is nothing before it; what was read goes first, and the fault comes
        again with the next read.
        """
        batch = Batch(self.position)
        try:
            self._read_on(batch, entries_max)
        except (JournalCorrupt, OSError):
            if not batch.entries and not batch.damages:
                self.position = batch.end
                raise
        batch.end = self.position
        return batch

    def sign(self) -> tuple[int, int] | None:
        """What differs once anything is appended: when the folder changed last, and how long the segment at
        hand is. None where that cannot be told.
        """
        if self._open is None:
            return None
        try:
            return self.folder.stat().st_mtime_ns, os.fstat(self._open[1]).st_size
        except OSError:
            return None

    def close(self) -> None:
        """Close the segment; nothing when none is open."""
        if self._open is not None:
            os.close(self._open[1])
            self._open = None

    def _read_on(self, batch: Batch, entries_max: int) -> None:
        while len(batch.entries) < entries_max:
            # Which segments there are comes first: whatever a segment holds after its successor exists is
            # final.
            later = [n for n in segment_numbers(self.folder) if n > self.position.segment]
            if self._read_segment(batch, entries_max, is_final=bool(later)):
                continue
            if not later or len(batch.entries) >= entries_max:
                break
            self.position = Position(later[0], len(HEADER))

    def _read_segment(self, batch: Batch, entries_max: int, *, is_final: bool) -> bool:
        """Read on in the segment at hand; whether the position moved."""
        descriptor = self._descriptor(batch)
        if descriptor is None:
            return False
        offset = self.position.offset
        data = os.pread(descriptor, READ_BYTES, offset)
        at_end = len(data) < READ_BYTES
        done = 0
        while done < len(data) and len(batch.entries) < entries_max:
            entry, frame_bytes = self._entry(data, done)
            if entry is not None:
                batch.entries.append(entry)
                done += frame_bytes
            elif frame_bytes == 0 and not is_final:
                break  # not yet
            elif not at_end and len(data) - done <= FRAME_BYTES_MAX:
                break  # a frame's end, or the next one's beginning, may lie in the next read
            else:
                damage = self._damage(data, done, at_end)
                batch.damages.append(Damage(Position(self.position.segment, offset + done), damage))
                done += len(damage)
        self.position = Position(self.position.segment, offset + done)
        return done > 0

    def _entry(self, data: bytes, offset: int) -> tuple[Entry | None, int]:
        """The entry at an offset and its frame's size; (None, 0) when bytes lack, (None, 1) when they are
        wrong.
        """
        payload = decode_frame(data, offset)
        if payload is Fault.SHORT:
            return None, 0
        if isinstance(payload, Fault):
            return None, 1
        try:
            is_end = payload[:1] == ARRAY_OF_ONE
            entry = self._decode_end(payload) if is_end else self._decode_record(payload)
            return entry, FRAME_HEAD_BYTES + len(payload)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None, 1

    def _damage(self, data: bytes, offset: int, at_end: bool) -> bytes:
        """The bytes from `offset` to the next whole record; to the end, when the segment ends there too."""
        for begin in range(offset + 1, len(data) - FRAME_HEAD_BYTES):
            if self._entry(data, begin)[0] is not None:
                return data[offset:begin]
        # A record may begin among the last bytes of a read that does not reach the segment's end.
        return data[offset:] if at_end else data[offset : len(data) - FRAME_BYTES_MAX]

    def _descriptor(self, batch: Batch) -> int | None:
        number = self.position.segment
        if self._open is not None and self._open[0] == number:
            return self._open[1]
        self.close()
        path = segment_path(self.folder, number)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        header = os.pread(descriptor, len(HEADER), 0)
        if header != HEADER:
            # Made, and not written yet; or it never reached the disk before a power cut.
            is_empty = HEADER.startswith(header) or not header.strip(b"\0")
            if is_empty or is_other_version(header):
                os.close(descriptor)
            if is_empty:
                return None
            if is_other_version(header):
                raise JournalCorrupt(f"{path} was not written by this version of metergate: {header!r}")
            if self.position.offset == len(HEADER):
                batch.damages.append(Damage(Position(number, 0), header))
        self._open = (number, descriptor)
        return descriptor


def end_position(folder: Path, posted: Position) -> Position:
    """Where the folder's journal ends now by the sizes of its files; `posted` when it has none."""
    numbers = segment_numbers(folder)
    if not numbers:
        return posted
    try:
        size = segment_path(folder, numbers[-1]).stat().st_size
    except FileNotFoundError:
        return posted
    return max(posted, Position(numbers[-1], max(size, len(HEADER))))


def has_whole_record(folder: Path, begin: Position, end: Position) -> bool:
    """Whether at least one record lies between two positions: a torn tail is none."""
    reader = JournalReader(folder, begin)
    try:
        batch = reader.read(1)
    finally:
        reader.close()
    return bool(batch.entries or batch.damages) and begin < end
