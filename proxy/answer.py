"""The client's side of one call: what is sent back.

Owns the order of an answer's parts and its headers. Knows nothing of engines or usage.
"""

from collections.abc import Callable
from time import monotonic
from typing import Final, Protocol

from proxy import headers
from proxy.errors import ApiError


class Line(Protocol):
    """Where it goes: `proxy.request.Request`."""

    def when_gone(self, then: Callable[[], None]) -> None: ...
    def whole(self, status: int, lines: bytes, body: bytes) -> None: ...
    def start(self, lines: bytes) -> None: ...
    def chunk(self, data: bytes) -> bool: ...
    async def drained(self) -> None: ...
    def end(self) -> None: ...


class Answer:
    """One answer. `organization` is the tenant's id, once it is known; `limits` the lines that tell what is
    left of its limits. What it has of streams is its line's.
    """

    __slots__ = ("_began", "limits", "line", "organization", "request_id", "started")

    def __init__(self, request_id: str, line: Line) -> None:
        self._began = monotonic()
        self.line: Final = line
        self.request_id = request_id
        self.organization: str | None = None
        self.limits = b""
        self.started = False

    def whole(
        self, status: int, content_type: bytes, body: bytes, more: headers.Headers | None = None
    ) -> None:
        """Answers in one piece."""
        self.line.whole(status, self._lines(content_type, len(body), more), body)

    def error(self, error: ApiError) -> None:
        """Answers with an error."""
        self.whole(error.status, headers.JSON, error.body(), error.headers())

    def start_stream(self) -> None:
        """Begins a stream of events."""
        self.line.start(self._lines(headers.EVENT_STREAM, None, None))

    def _lines(self, content_type: bytes, length: int | None, more: headers.Headers | None) -> bytes:
        """The headers, a line each; from here on the answer counts as begun."""
        self.started = True
        elapsed_ms = int((monotonic() - self._began) * 1000)
        lines = headers.answer(self.request_id, self.organization, elapsed_ms, content_type, length)
        lines += self.limits
        return lines + headers.lines(more) if more else lines
