"""The flight recorder's file: what each call in flight has used so far, readable after kill -9.

Pure. The file `flight` in a worker's journal folder is slots of SLOT_BYTES; the first one is the header:

    MAGIC, a frame of (slot bytes, slots, holder id) ... at SEEN_AT the last time the worker told, in us

and each of the others is one call's, or free:

    u64 state, u64 prompt tokens, u64 completion tokens, u64 first byte in us, a frame of the call's record

Behind the slots lie the long names: NAMES_BYTES of frames, one for each name of a model or an engine that is
longer than NAME_BYTES_MAX. A record has "\\0" and the frame's offset in its place; the name is written first.

Frames are those of the journal. The record is the call as it stands in the book if the worker dies before
the first count; the three words are written over it as the stream goes on. The state is 0 in a free slot
and TAKEN + the frame's checksum in a taken one, and is written last: a slot is taken with the whole record
or not at all. The words are 8 bytes, aligned, in the machine's own order (the file never leaves its host).
Each is written by one store, which kill -9 cannot tear; between two of them it leaves a count that is one
chunk old.

What is not exactly as it must be is no call: it is reported with its place, never guessed at. A damaged
header costs nothing but itself: each slot has its own checksum, and the length of the file says how many
there are.

The version is in the magic. There has been one so far; a later one has to read this one's files.
"""

import struct
from dataclasses import dataclass, field
from typing import Final

import msgspec

from ledger.errors import JournalCorrupt
from ledger.journal.frames import (
    FRAME_HEAD_BYTES,
    PAYLOAD_BYTES_MAX,
    Fault,
    decode_frame,
    encode_frame,
)
from ledger.record import CallRecord, Ending
from ledger.usage import UsageSource

FLIGHT_NAME: Final = "flight"
VERSION: Final = 1
_KIND: Final = b"mgflgt"
MAGIC: Final = _KIND + bytes((VERSION,)) + b"\n"
SLOT_BYTES: Final = 2048  # a record is about 350 bytes; what ids and names may be at the longest fits
NAME_BYTES_MAX: Final = 256
NAMES_BYTES: Final = 256 * 1024
SLOTS_MAX: Final = 1 << 20
WORD_BYTES: Final = 8
FRAME_AT: Final = 4 * WORD_BYTES
RECORD_BYTES_MAX: Final = SLOT_BYTES - FRAME_AT - FRAME_HEAD_BYTES
SEEN_AT: Final = SLOT_BYTES // 2
FREE: Final = 0
TAKEN: Final = 1 << 32
# More is no count and no time of ours, but bytes that something else wrote: no call makes a bill of them.
TOKENS_MAX: Final = 1 << 40
US_MAX: Final = 1 << 56

_MARK: Final = "\0"
_WORDS: Final = struct.Struct("=4Q")
_WORD: Final = struct.Struct("=Q")
_CRC: Final = struct.Struct("<I")
_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(CallRecord).decode


class _Header(msgspec.Struct, frozen=True, array_like=True):
    slot_bytes: int
    slots: int
    holder_id: str = ""

    @property
    def is_guessed(self) -> bool:
        """Whether it stands in the place of one that cannot be read."""
        return self.slot_bytes == 0


_decode_header: Final = msgspec.msgpack.Decoder(_Header).decode


class RecordTooLong(ValueError):
    """The record does not fit into a slot."""


@dataclass(slots=True)
class Flight:
    """What a dead worker left: its calls in flight, and the numbers of the slots that cannot be read.

    `missing`: how many slots the file is too short for.
    """

    holder_id: str
    is_header_damaged: bool = False
    records: list[CallRecord] = field(default_factory=list)
    damaged: list[int] = field(default_factory=list)
    missing: int = 0


def file_bytes(slots: int) -> int:
    """How long a file of so many slots is."""
    assert 0 < slots <= SLOTS_MAX, slots
    return names_at(slots) + NAMES_BYTES


def names_at(slots: int) -> int:
    """Where the long names of a file of so many slots begin."""
    return (slots + 1) * SLOT_BYTES


def encode_name(name: str) -> bytes | None:
    """The frame of a long name; None for one that its record can hold. Raises RecordTooLong."""
    encoded = name.encode()
    if len(encoded) <= NAME_BYTES_MAX and not name.startswith(_MARK):
        return None
    if len(encoded) > min(PAYLOAD_BYTES_MAX, NAMES_BYTES):
        raise RecordTooLong(f"a name of {len(encoded)} bytes")
    return encode_frame(encoded)


def mark_of(offset: int) -> str:
    """What a record has in the place of the long name whose frame is there."""
    return f"{_MARK}{offset}"


def encode_header(slots: int, holder_id: str) -> bytes:
    """The bytes that a file begins with."""
    assert 0 < slots <= SLOTS_MAX, slots
    header = MAGIC + encode_frame(_encode(_Header(SLOT_BYTES, slots, holder_id)))
    assert len(header) <= SEEN_AT, len(header)
    return header


def encode_record(record: CallRecord) -> bytes:
    """The frame for a slot. Raises RecordTooLong."""
    payload = _encode(record)
    if len(payload) > RECORD_BYTES_MAX:
        raise RecordTooLong(f"a record of {len(payload)} bytes; a slot holds {RECORD_BYTES_MAX}")
    return encode_frame(payload)


def state_of(frame: bytes) -> int:
    """The state of a slot that is taken with this frame."""
    crc: int = _CRC.unpack_from(frame, 4)[0]
    return TAKEN + crc


def read_flight(data: bytes) -> Flight:
    """The calls that a file holds. Raises JournalCorrupt for a file that this version did not write."""
    header = _header(data)
    flight = Flight(header.holder_id, is_header_damaged=header.is_guessed)
    seen_us = _WORD.unpack_from(data, SEEN_AT)[0] if len(data) >= SLOT_BYTES else 0
    whole = min(header.slots, len(data) // SLOT_BYTES - 1)
    flight.missing = header.slots - max(0, whole)
    for number in range(1, whole + 1):
        begin = number * SLOT_BYTES
        if _WORD.unpack_from(data, begin)[0] == FREE:
            continue
        record = _record(data[begin : begin + SLOT_BYTES], seen_us, data, names_at(header.slots))
        if record is None:
            flight.damaged.append(number)
        else:
            flight.records.append(record)
    return flight


def _header(data: bytes) -> _Header:
    if not data.startswith(MAGIC):
        known = data.startswith(_KIND) and data[len(_KIND) + 1 : len(MAGIC)] == MAGIC[-1:]
        what = f"its format is {data[len(_KIND)]}" if known else f"it begins with {data[:8]!r}"
        raise JournalCorrupt(
            f"not written by this version of metergate: {what}, and this one reads format {VERSION}"
        )
    payload = decode_frame(data, len(MAGIC))
    try:
        header = None if isinstance(payload, Fault) else _decode_header(payload)
    except (msgspec.DecodeError, UnicodeDecodeError):
        header = None
    if header is not None and header.slot_bytes == SLOT_BYTES and 0 < header.slots <= SLOTS_MAX:
        return header
    slots = (len(data) - NAMES_BYTES) // SLOT_BYTES - 1
    if not 0 < slots <= SLOTS_MAX or file_bytes(slots) != len(data):
        raise JournalCorrupt("its header is damaged, and it has not the length of a flight recorder")
    return _Header(0, slots)


def _name(text: str, data: bytes, names: int) -> str | None:
    """A name as it was, long or not; None where it cannot be read. `names`: where the long ones begin."""
    if not text.startswith(_MARK):
        return text
    offset = text.removeprefix(_MARK)
    payload = decode_frame(data, names + int(offset)) if offset.isdecimal() else Fault.CORRUPT
    try:
        return None if isinstance(payload, Fault) else payload.decode()
    except UnicodeDecodeError:
        return None


def _record(slot: bytes, seen_us: int, data: bytes, names: int) -> CallRecord | None:
    """The call of a slot that is not free, with its counts; None where anything is not as it must be."""
    state, prompt_tokens, completion_tokens, first_byte_us = _WORDS.unpack_from(slot)
    payload = decode_frame(slot, FRAME_AT)
    if isinstance(payload, Fault) or state != state_of(slot[FRAME_AT : FRAME_AT + FRAME_HEAD_BYTES]):
        return None
    if max(prompt_tokens, completion_tokens) > TOKENS_MAX or first_byte_us > US_MAX:
        return None
    try:
        record = _decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    model, backend = _name(record.model, data, names), _name(record.backend, data, names)
    if model is None or backend is None:
        return None
    counted = prompt_tokens + completion_tokens > 0
    return msgspec.structs.replace(
        record,
        model=model,
        backend=backend,
        ended_us=max(record.started_us, first_byte_us, seen_us if seen_us <= US_MAX else 0),
        ending=Ending.KILLED,
        http_status=200 if first_byte_us else 0,
        usage_source=UsageSource.RECOVERED if counted else UsageSource.UNRESOLVED,
        prompt_tokens=prompt_tokens,
        cached_prompt_tokens=0,
        completion_tokens=completion_tokens,
        first_byte_us=first_byte_us,
        charges=(),
    )
