"""A client's connection: uvicorn's HTTP protocol, with bounds, and less done for each request.

Owns how slowly and how largely a request may come in, and how long a client may let its answer lie. Knows
nothing of what is served. Rules:

- A client that stops taking its answer is cut off after UNREAD_SECONDS: its call ends as if it had left.
- The head and the body of a request must come without a pause of more than STALL_SECONDS; one sweep (the
  server's) looks at all connections, so a request costs no timer.
- One request runs at a time; those that come early wait for its answer.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final, cast
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from proxy.answer import DIRECT_LINE
from proxy.bell import Bell
from proxy.errors import ApiError, BodyUnreadable, HeadTooLarge
from proxy.line import CorkedTransport, DirectLine

STALL_SECONDS: Final = 30.0
"""As nginx's client_header_timeout and client_body_timeout, halved: an edge proxy sees more of these."""

UNREAD_SECONDS: Final = 120.0
"""How long a client may take no byte of its answer: twice nginx's send_timeout, since people read along."""

KEEP_ALIVE_SECONDS: Final = 75
"""nginx's keepalive_timeout towards clients; longer than what load balancers keep to us (60 s is common)."""

_HEAD_BYTES_MAX: Final = 128 << 10
"""A head this long is ended before it is whole; the application's own, lower limit answers 431 in OpenAI's
shape."""


def _last_answer(status_line: bytes, error: ApiError) -> bytes:
    """An answer of the server's own, to what never becomes a request; the connection ends with it."""
    body = error.body()
    head = b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
    return head % (status_line, len(body)) + body


_TOO_LARGE: Final = _last_answer(
    b"431 Request Header Fields Too Large", HeadTooLarge("The headers of your request are too large.")
)
_NO_HTTP: Final = _last_answer(b"400 Bad Request", BodyUnreadable("This is not a valid HTTP/1.1 request."))


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol, with limits on an unfinished request, and less done for each.

    The application's scope has what ours reads, and keep-alive is ended by the sweep, not by a timer for each
    answer.
    """

    # Beside uvicorn's own attributes: with these among them an instance would be too large to share its keys.
    __slots__ = ("_answered_at", "_head_bytes", "_is_last", "_later", "_running", "last_data", "on_gone")

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        del self.pipeline  # in its place: a queue costs 0.7 KiB, and few clients send a second request early
        self._running: RequestResponseCycle | None = None
        self._later: list[RequestResponseCycle] = []
        self.last_data = self._answered_at = 0.0
        self._head_bytes = 0
        self._is_last = False
        self.on_gone: Callable[[], None] | None = None
        """What the call under way wants to be told of its client."""

    def connection_made(self, transport: Any) -> None:
        self.last_data = self.loop.time()
        super().connection_made(cast(asyncio.Transport, CorkedTransport(transport, self.loop)))
        self.flow._is_writable_event = cast(asyncio.Event, Bell(is_set=True))

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._running is not None:  # uvicorn tells the newest, which may not have begun
            self._running.disconnected = True
            self._running.message_event.set()
        then, self.on_gone = self.on_gone, None
        if then is not None:
            then()

    def data_received(self, data: bytes) -> None:
        self.last_data = self.loop.time()
        super().data_received(data)
        if self._head_bytes >= 0:
            self._head_bytes += len(data)
            if self._head_bytes > _HEAD_BYTES_MAX and not self.transport.is_closing():
                self._end(_TOO_LARGE)

    def send_400_response(self, msg: str) -> None:
        """What came is no HTTP."""
        self._end(_NO_HTTP)

    def _end(self, answer: bytes) -> None:
        """The connection's last words, unless they would fall into the answer of the request before."""
        if self.cycle is None or self.cycle.response_complete:
            self.transport.write(answer)
        self.transport.close()

    def on_message_begin(self) -> None:
        self._head_bytes = 0
        self.url = b""
        self.headers = []
        self.expect_100_continue = False

    def on_headers_complete(self) -> None:
        self._head_bytes = -1
        parser, before = self.parser, self.cycle
        extensions: dict[str, Any] = {}
        scope: Any = {
            "type": "http",
            "method": parser.get_method().decode("ascii"),
            "path": _path_of(self.url),
            "headers": self.headers,
            "client": self.client,
            "extensions": extensions,
        }
        keep_alive = parser.should_keep_alive() and parser.get_http_version() != "1.0"
        self.cycle = cycle = RequestResponseCycle(
            scope=scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=self.server_state.default_headers,
            message_event=cast(asyncio.Event, Bell()),
            expect_100_continue=self.expect_100_continue,
            keep_alive=keep_alive and not self._is_last,
            on_response=self.on_response_complete,
        )
        extensions[DIRECT_LINE] = DirectLine(cycle, self)
        if before is None or before.response_complete:
            self._run(cycle)
        else:
            self.flow.pause_reading()
            self._later.append(cycle)

    def _run(self, cycle: RequestResponseCycle) -> None:
        self._running = cycle
        self._start_asgi_task(cycle, self.app)

    def on_message_complete(self) -> None:
        cycle = self.cycle
        if not cycle.response_complete:
            cycle.more_body = False
            cycle.message_event.set()

    def on_response_complete(self) -> None:
        """The next request of a pipeline may begin, or the wait for one."""
        self.on_gone = None
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self._later:
            self._run(self._later.pop(0))
        else:
            self._answered_at = self.loop.time()

    def shutdown(self) -> None:
        """The request under way, or the next one, is the last; see `close_idle`."""
        self._is_last = True
        if self.cycle is not None and not self.cycle.response_complete:
            super().shutdown()

    def close_idle(self) -> None:
        """Closes the connection unless a request is under way."""
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()

    def is_stalled(self, now: float) -> bool:
        """Whether a request is under way and its next byte is overdue."""
        cycle = self.cycle
        unfinished = self._head_bytes >= 0 if cycle is None or cycle.response_complete else cycle.more_body
        return unfinished and now - self.last_data > STALL_SECONDS

    def is_spent(self, now: float) -> bool:
        """Whether no request has come for longer than a connection is kept."""
        waits = self._head_bytes < 0 and self.cycle is not None and self.cycle.response_complete
        return waits and now - self._answered_at > KEEP_ALIVE_SECONDS

    def is_unread(self, now: float) -> bool:
        """Whether the client has stopped taking its answer."""
        return cast(CorkedTransport, self.transport).unread_seconds(now) > UNREAD_SECONDS


def _path_of(url: bytes) -> str:
    """The path of a request's target, percent-encoding taken away."""
    if url[:1] != b"/" or b"#" in url:  # a proxy's form, or none: what the parser makes of it
        url = httptools.parse_url(url).path
    path = url.partition(b"?")[0].decode("ascii")
    return unquote(path) if "%" in path else path
