"""Server-sent events: bytes in, whole events out. pure.

Owns the framing of `text/event-stream` and nothing of what the events say. Rules: lines end in LF, CRLF or
CR and nothing else (U+0085 and U+2028 are text: an iterator over `str.splitlines` gets this wrong); an
event ends at an empty line; an event is handed on the moment its last byte is here, and never a byte of one
before. Source: the WHATWG HTML standard, section 9.2.6.
"""

import re
from dataclasses import dataclass
from typing import Final

MAX_EVENT_BYTES: Final = 8 << 20
"""The longest event we hold before it is whole: prompt_logprobs of a long prompt come in one event of a few
MiB."""

_LINE_END: Final = rb"(?:\r\n|\n|\r(?=[^\n]))"
# A CR that is the last byte here may be half of a CRLF: it ends nothing until the next byte is known.
_EVENT_END: Final = re.compile(_LINE_END + _LINE_END)
_LINES: Final = re.compile(rb"\r\n|\n|\r")


class EventTooLarge(Exception):
    """An event of the stream is longer than MAX_EVENT_BYTES."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event: its `event:` name ("" where there is none) and its `data:` lines joined by LF (None: a
    comment)."""

    name: bytes
    data: bytes | None


class Splitter:
    """Cuts a byte stream at the ends of its events, however the bytes were split on their way."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """Takes the next bytes; returns all that is now whole events (often all of it), or b"".

        Raises EventTooLarge.
        """
        if not self._held and data.endswith(b"\n\n"):
            return data
        data = self._held + data
        end = data.rfind(b"\n\n") + 2
        if b"\r" in data:
            end = max((match.end() for match in _EVENT_END.finditer(data)), default=0)
        elif end == 1:
            end = 0
        self._held = data[end:]
        if len(self._held) > MAX_EVENT_BYTES:
            raise EventTooLarge
        return data[:end]

    def rest(self) -> bytes:
        """What has come of an event that is not whole: at the stream's end, a torn event."""
        return self._held


def split(whole: bytes) -> list[bytes]:
    """Cuts whole events, as `Splitter.feed` returns them, into single ones, each with its ending."""
    if b"\r" not in whole:
        return [part + b"\n\n" for part in whole.split(b"\n\n")[:-1] if part.strip(b"\n")]
    events, start = [], 0
    for match in _EVENT_END.finditer(whole + b"."):  # the dot stands for the byte after a last CR
        if whole[start : match.end()].strip(b"\r\n"):
            events.append(whole[start : match.end()])
        start = match.end()
    return events


def parse(event: bytes) -> Event:
    """Reads one event."""
    name = b""
    data: list[bytes] = []
    for line in _LINES.split(event):
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            data.append(value)
        elif field == b"event":
            name = value
    return Event(name, b"\n".join(data) if data else None)


def render(data: bytes) -> bytes:
    """One event with one line of data."""
    return b"data: " + data + b"\n\n"
