"""The client's side of one call: what is sent back.

Owns the order of an answer's parts and its headers. Knows nothing of engines or usage.
"""

from collections.abc import Awaitable, Callable, Coroutine, Generator, MutableMapping
from contextlib import suppress
from time import monotonic
from typing import Any, Final, Protocol

from proxy import headers
from proxy.errors import ApiError

Message = MutableMapping[str, Any]
DIRECT_LINE: Final = "metergate.direct_line"
"""The ASGI extension that our server offers: no other server runs this application."""

Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Coroutine[Any, Any, None]]


class Line(Protocol):
    """What the server offers as DIRECT_LINE; see `proxy.line.DirectLine`."""

    def body(self) -> bytes | None: ...
    def on_gone(self, then: Callable[[], None]) -> None: ...
    def whole(self, status: int, lines: bytes, body: bytes) -> None: ...
    def start(self, lines: bytes) -> None: ...
    def chunk(self, data: bytes) -> bool: ...
    def end(self) -> bool: ...


class Answer:
    """One answer. `organization` is the tenant's id, once it is known; `limits` the lines that tell what is
    left of its limits.

    `line`: the server's DIRECT_LINE; `send` is ASGI's, for what has to wait for the client.
    """

    __slots__ = ("_began", "_send", "limits", "line", "organization", "request_id", "started")

    def __init__(self, request_id: str, send: Send, line: Line) -> None:
        self._began = monotonic()
        self._send = send
        self.line: Final = line
        self.request_id = request_id
        self.organization: str | None = None
        self.limits: headers.Headers = []
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

    def part(self, data: bytes) -> "Part | None":
        """Sends the next bytes of a stream; the Part to await, if the client is too slow to take them now."""
        if self.line.chunk(data):
            return None
        part = Part(self._send({"type": "http.response.body", "body": data, "more_body": True}))
        return None if part.begin() else part

    def end_now(self) -> bool:
        """Ends a stream; False where a slow client has to be waited for."""
        return self.line.end()

    async def end(self) -> None:
        """Ends a stream once the client has taken enough of it."""
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    def _lines(self, content_type: bytes, length: int | None, more: headers.Headers | None) -> bytes:
        """The headers, a line each; from here on the answer counts as begun."""
        self.started = True
        elapsed_ms = int((monotonic() - self._began) * 1000)
        lines = headers.answer(self.request_id, self.organization, elapsed_ms, content_type, length)
        if self.limits:
            lines += headers.lines(self.limits)
        return lines + headers.lines(more) if more else lines


class Part:
    """A send that is begun by hand, in a callback, and awaited only if the client is too slow to take it.

    A server's `send` waits for nothing while its buffer has room, so its coroutine ends in the first step;
    a task switch for every chunk would cost more than all else that is done with it. Where it does wait,
    awaiting this object takes it to its end from where it stopped.
    """

    __slots__ = ("_coroutine", "_waiting_for")

    def __init__(self, coroutine: Coroutine[Any, Any, None]) -> None:
        self._coroutine = coroutine
        self._waiting_for: Any = None

    def begin(self) -> bool:
        """Takes the first step; True if that was all."""
        try:
            self._waiting_for = self._coroutine.send(None)
        except StopIteration:
            return True
        return False

    def __await__(self) -> Generator[Any, Any, None]:
        waiting_for = self._waiting_for
        with suppress(StopIteration):
            while True:
                try:
                    sent = yield waiting_for
                except BaseException as error:
                    waiting_for = self._coroutine.throw(error)
                else:
                    waiting_for = self._coroutine.send(sent)
