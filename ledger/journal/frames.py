"""Frames: how records lie in a segment.

Pure. A segment is an 8-byte header and frames; a frame is

    u32 length of the payload, u32 CRC-32 over those 4 bytes and the payload, payload        (little-endian)

The CRC covers the length, so that a tail of zeros (what a power cut may leave) is no run of empty frames. A
reader gets a payload, SHORT (the bytes end before the frame does: a torn tail, or one still being written),
or CORRUPT (the bytes are there and wrong). It never guesses where a next frame may begin.
"""

import struct
import zlib
from enum import Enum, auto
from typing import Final

_KIND: Final = b"mgjrnl"
HEADER: Final = _KIND + b"\x01\n"  # the last byte but one is the version of the format
FRAME_HEAD_BYTES: Final = 8
# A record is about 300 bytes; ids and model names are bounded by the proxy. A length past this is no length
# of ours.
PAYLOAD_BYTES_MAX: Final = 64 * 1024

_LENGTH: Final = struct.Struct("<I")
_HEAD: Final = struct.Struct("<II")


class Fault(Enum):
    """Why there is no payload."""

    SHORT = auto()
    CORRUPT = auto()


def is_other_version(header: bytes) -> bool:
    """Whether a segment begins as another version's would; any other wrong beginning is damage."""
    return (
        header != HEADER
        and len(header) == len(HEADER)
        and header.startswith(_KIND)
        and header[-1:] == HEADER[-1:]
    )


def encode_frame(payload: bytes) -> bytes:
    """The frame of a payload of 1 to PAYLOAD_BYTES_MAX bytes."""
    assert 0 < len(payload) <= PAYLOAD_BYTES_MAX, len(payload)
    length = len(payload)
    return _HEAD.pack(length, zlib.crc32(payload, zlib.crc32(_LENGTH.pack(length)))) + payload


def decode_frame(data: bytes | memoryview, offset: int) -> bytes | Fault:
    """The payload of the frame at `offset`; the next frame begins at `offset + FRAME_HEAD_BYTES +
    len(payload)`.
    """
    if len(data) - offset < FRAME_HEAD_BYTES:
        return Fault.SHORT
    length, crc = _HEAD.unpack_from(data, offset)
    if not 0 < length <= PAYLOAD_BYTES_MAX:
        return Fault.CORRUPT
    begin = offset + FRAME_HEAD_BYTES
    if len(data) - begin < length:
        return Fault.SHORT
    payload = bytes(data[begin : begin + length])
    if zlib.crc32(payload, zlib.crc32(data[offset : offset + 4])) != crc:
        return Fault.CORRUPT
    return payload


def whole_frames(data: bytes | memoryview, offset: int = 0) -> tuple[list[bytes], int, Fault | None]:
    """The payloads from `offset` on, where the first byte after them is, and what stands there (None: the
    end).
    """
    payloads: list[bytes] = []
    while offset < len(data):
        payload = decode_frame(data, offset)
        if isinstance(payload, Fault):
            return payloads, offset, payload
        payloads.append(payload)
        offset += FRAME_HEAD_BYTES + len(payload)
    return payloads, offset, None


def is_torn_tail(data: bytes | memoryview, offset: int) -> bool:
    """Whether the bytes from `offset` to the end of a dead writer's last segment are what a crash can leave.

    That is a frame cut short, a run of zeros, or one frame whose bytes did not all reach the disk and that
    nothing follows. Bytes behind a wrong frame are something else, and are never cut.
    """
    rest = bytes(data[offset:])
    if not rest.strip(b"\0") or decode_frame(rest, 0) is Fault.SHORT:
        return True
    length: int = _LENGTH.unpack_from(rest)[0]
    return 0 < length <= PAYLOAD_BYTES_MAX and len(rest) == FRAME_HEAD_BYTES + length
