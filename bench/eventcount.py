"""Pure: counts the events of one chunked HTTP event stream as its bytes arrive, and knows its end, without
decoding it.

Rules: neither where reads split the bytes nor where a proxy puts its HTTP chunks may change the count. Only
the last bytes are remembered. Relies on what the benchmark's engine sends: LF line ends, no blank line but an
event's.
"""

from __future__ import annotations

import re

_TAIL_BYTES = 64
_LAST_CHUNK = b"\r\n0\r\n\r\n"
_DONE = b"data: [DONE]\n\n"
_BORDER = re.compile(rb"\r\n[0-9a-fA-F]+\r\n")


class EventCount:
    """One stream: `events` so far, `ended` once its last HTTP chunk is in, `done` if `[DONE]` came right
    before.
    """

    __slots__ = ("_tail", "_tail_events", "events")

    def __init__(self) -> None:
        self.events = 0
        self._tail = b""
        self._tail_events = 0

    def feed(self, data: bytes) -> int:
        """How many more events are complete with `data`."""
        window = self._tail + data
        more = window.count(b"\n\n") - self._tail_events
        self._tail = tail = window[-_TAIL_BYTES:]
        self._tail_events = tail.count(b"\n\n")
        self.events += more
        return more

    @property
    def begun(self) -> bool:
        return bool(self._tail)

    @property
    def ended(self) -> bool:
        return self._tail.endswith(_LAST_CHUNK)

    @property
    def done(self) -> bool:
        return _DONE in _BORDER.sub(b"", self._tail.removesuffix(_LAST_CHUNK))
