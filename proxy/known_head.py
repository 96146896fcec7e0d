"""A request's head that was read once on its connection, known again by its bytes. pure.

A client's requests differ in their bodies and in little else: most heads are those of the request before,
byte for byte, but for the digits of `content-length`. Such a head means what it meant to the parser then, and
need not be parsed again. Rules:

- Only what the parser has taken for a whole request is learned from, and only where one plain
  `content-length` frames the body. All that is not exactly as it was is the parser's to read
  (tests/unit/proxy/test_known_head.py: nothing is read otherwise than it would).
- What comes is one request, whole, or it is the parser's.
"""

from dataclasses import dataclass, field
from typing import Final

from proxy.headers import Headers

_LENGTH: Final = b"\r\ncontent-length:"
_LENGTH_DIGITS_MAX: Final = 9
_HEAD_BYTES_MAX: Final = 4096
"""A longer one is not kept: it would stay with its connection."""


@dataclass(slots=True)
class Head:
    """What a head says, once and for all requests that have it.

    `headers`: names in lower case. `secret`: the API key that came with it. `target`: what `path` was read
    from, as it came, with its query.
    """

    method: str
    path: str
    headers: Headers = field(repr=False)
    secret: bytes | None = field(repr=False)
    target: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class KnownHead:
    """`before`, `after`: the bytes around the digits of its `content-length`, up to the body."""

    head: Head
    before: bytes = field(repr=False)
    after: bytes = field(repr=False)

    @classmethod
    def learn(cls, head: Head, data: bytes, body_bytes: int) -> "KnownHead | None":
        """Of the bytes of a whole request that the parser has read; None where it is not a plain one."""
        end = len(data) - body_bytes - 4
        if not 0 < end <= _HEAD_BYTES_MAX or data.find(b"\r\n\r\n") != end:
            return None
        lower = data[: end + 2].lower()
        at = lower.find(_LENGTH)
        if at < 0 or lower.count(b"\r\ncontent-length") > 1 or b"\r\ntransfer-encoding" in lower:
            return None
        begin = at + len(_LENGTH)
        while lower[begin : begin + 1] == b" ":
            begin += 1
        line_end = lower.find(b"\r\n", begin)
        if lower[begin:line_end] != b"%d" % body_bytes:
            return None
        return cls(head, data[:begin], data[line_end : end + 4])

    def body_of(self, data: bytes) -> bytes | None:
        """The body, if `data` is this head again and a whole body; None for all else."""
        if not data.startswith(self.before):
            return None
        begin = len(self.before)
        end = data.find(b"\r\n", begin, begin + _LENGTH_DIGITS_MAX + 2)
        if end < 0 or not data.startswith(self.after, end):
            return None
        digits, body = data[begin:end], data[end + len(self.after) :]
        return body if digits.isdigit() and int(digits) == len(body) else None
