"""A client's connection: HTTP/1.1 on httptools, behind uvicorn's server.

Owns how requests are read, one after the other, how slowly and how largely they may come in, and how long a
client may let its answer lie. Knows nothing of what is served. Rules:

- A head that is the one before again is not parsed again (`proxy.known_head`).
- A request is answered in the callback that brought it, as far as nothing has to be waited for
  (`proxy.eager`): no task, no ASGI.
- One request runs at a time; those that come early wait for its answer.
- A client that stops taking its answer is cut off after UNREAD_SECONDS: its call ends as if it had left.
- The head and the body of a request must come without a pause of more than STALL_SECONDS; one sweep (the
  server's) looks at all connections, so a request costs no timer.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final, cast
from urllib.parse import unquote

import httptools
import uvicorn
from uvicorn.server import ServerState

from proxy import headers
from proxy.eager import Bell, Eager
from proxy.errors import ApiError, BodyUnreadable, HeadTooLarge
from proxy.known_head import Head, KnownHead
from proxy.request import Request

STALL_SECONDS: Final = 30.0
"""As nginx's client_header_timeout and client_body_timeout, halved: an edge proxy sees more of these."""

UNREAD_SECONDS: Final = 120.0
"""How long a client may take no byte of its answer: twice nginx's send_timeout, since people read along."""

KEEP_ALIVE_SECONDS: Final = 75
"""nginx's keepalive_timeout towards clients; longer than what load balancers keep to us (60 s is common)."""

_HEAD_BYTES_MAX: Final = 128 << 10
"""A head this long is ended before it is whole; the application's own, lower limit answers 431 in OpenAI's
shape."""

_LESSONS: Final = 4
"""How often a connection learns a head anew."""

Application = Callable[[Request], Coroutine[Any, Any, None]]
"""Answers a request, whatever happens."""


def _last_answer(status_line: bytes, error: ApiError) -> bytes:
    """An answer of the server's own, to what never becomes a request; the connection ends with it."""
    body = error.body()
    head = b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
    return head % (status_line, len(body)) + body


_TOO_LARGE: Final = _last_answer(
    b"431 Request Header Fields Too Large", HeadTooLarge("The headers of your request are too large.")
)
_NO_HTTP: Final = _last_answer(b"400 Bad Request", BodyUnreadable("This is not a valid HTTP/1.1 request."))


class Connection(asyncio.Protocol):
    """One connection; made as uvicorn makes its protocols."""

    __slots__ = (
        "_answered_at",
        "_application",
        "_arriving",
        "_client_host",
        "_head_bytes",
        "_headers",
        "_is_last",
        "_is_paused",
        "_is_upgrade",
        "_known",
        "_later",
        "_lessons",
        "_loop",
        "_newest",
        "_parser",
        "_room",
        "_sent",
        "_sent_at",
        "_state",
        "_target",
        "_unbegun",
        "_written",
        "is_full",
        "last_data",
        "request",
        "transport",
    )

    _common: tuple[object, bytes] = (None, b"")
    """uvicorn's own headers (the date), which change once a second, and their lines."""

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self._application = cast(Application, config.loaded_app)
        self._state = server_state
        self._loop = _loop or asyncio.get_running_loop()
        self._parser = self._new_parser()
        self._later: list[Request] = []
        self._newest: Request | None = None
        """The request that the parser is at, or was last."""
        self._unbegun: Request | None = None
        self._headers: headers.Headers = []
        self._target = b""
        self._head_bytes = 0
        """What has come of a head that is not whole; -1 between a head and the next."""
        self._arriving = 0
        self._known: KnownHead | None = None
        self._lessons = _LESSONS
        self._is_last = self._is_paused = self._is_upgrade = False
        self._room: Bell | None = None
        self._written = self._sent = 0
        self._answered_at = self._sent_at = self.last_data = 0.0
        self.transport = cast(asyncio.Transport, None)
        self.is_full = False
        self.request: Request | None = None
        """The request under way, or answered last."""

    def _new_parser(self) -> Any:
        parser = httptools.HttpRequestParser(self)
        # What comes after a request with `connection: close` is not looked at, rather than an error.
        parser.set_dangerous_leniencies(lenient_data_after_close=True)
        return parser

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.last_data = self._sent_at = self._loop.time()
        peer = transport.get_extra_info("peername")
        self._client_host = str(peer[0]) if isinstance(peer, list | tuple) else None
        self._state.connections.add(cast(Any, self))

    def connection_lost(self, exc: Exception | None) -> None:
        self._state.connections.discard(cast(Any, self))
        self._later.clear()
        self._unbegun = None
        self.resume_writing()
        request = self.request
        if request is not None and not request.is_answered:
            request.gone()
        del self._parser  # it holds this object

    def data_received(self, data: bytes) -> None:
        self.last_data = self._loop.time()
        if self._known is not None and self._head_bytes < 0 and self._is_known(self._known, data):
            return
        self._arriving = len(data)
        begins = self._head_bytes <= 0 and (self._newest is None or self._newest.is_whole)
        if not self._parse(data):
            self._end(_NO_HTTP)
            return
        if self._head_bytes >= 0:
            self._head_bytes += len(data)
            if self._head_bytes > _HEAD_BYTES_MAX:
                self._end(_TOO_LARGE)
                return
        newest = self._newest
        if self._unbegun is not None:
            request, self._unbegun = self._unbegun, None
            if begins and newest is request and request.is_whole and self._lessons > 0:
                self._learn(request, data)
            self._run(request)
        elif self.request is not None and self.request.is_wanted:
            self.request.moved()  # the newest may be one that came early
        if newest is not None and newest.is_unasked:
            self.read_on(is_wanted=False)

    def eof_received(self) -> None:
        """A client that sends no more has left, as with uvicorn."""

    def pause_writing(self) -> None:
        self.is_full = True

    def resume_writing(self) -> None:
        self.is_full = False
        if self._room is not None:
            self._room.set()

    # What the parser calls.

    def on_message_begin(self) -> None:
        self._head_bytes = 0
        self._target = b""
        self._headers = []

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        parser = self._parser
        if parser.should_upgrade():
            self._is_upgrade = True
            return
        is_http_1_0 = parser.get_http_version() == "1.0"
        self._newest = request = Request(
            self,
            Head(
                parser.get_method().decode("ascii"),
                _path_of(self._target),
                self._headers,
                headers.secret_in(self._headers),
                self._target,
            ),
            self._client_host,
            is_last=self._is_last or is_http_1_0 or not parser.should_keep_alive(),
            is_http_1_0=is_http_1_0,
        )
        request.head_bytes_max = self._head_bytes + self._arriving
        self._head_bytes = -1
        if self.request is None or (self.request.is_answered and not self._later):
            self.request = self._unbegun = request
        else:
            self._later.append(request)
            self.read_on(is_wanted=False)

    def on_body(self, body: bytes) -> None:
        cast(Request, self._newest).add(body)

    def on_message_complete(self) -> None:
        if not self._is_upgrade:
            cast(Request, self._newest).is_whole = True

    # What the request calls.

    def is_gone(self) -> bool:
        """Whether the connection is closed, or will be."""
        return self.transport.is_closing()

    def write(self, data: bytes) -> None:
        """Writes to the client, which must not be gone."""
        self._written += len(data)
        self.transport.write(data)

    def soon(self, then: Callable[[], None]) -> None:
        """Calls at the end of this turn of the event loop."""
        self._loop.call_soon(then)

    def common(self) -> bytes:
        """The lines that every head has."""
        known, lines = Connection._common
        current = self._state.default_headers
        if known is not current:
            lines = headers.lines(current)
            Connection._common = current, lines
        return lines

    def room(self) -> Bell:
        """Rings when a slow client has taken enough, or has gone."""
        if self._room is None:
            self._room = Bell()
        self._room.clear()
        return self._room

    def forget_head(self) -> None:
        """The answer may take long: nothing is kept that the next request could be known by."""
        self._known = None
        self._lessons = 0

    def read_on(self, *, is_wanted: bool) -> None:
        """Reads, or stops reading what nobody wants yet."""
        if self._is_paused is is_wanted and not self.transport.is_closing():
            self._is_paused = not is_wanted
            if is_wanted:
                self.transport.resume_reading()
            else:
                self.transport.pause_reading()

    def answered(self, is_last: bool) -> None:
        """The next request may begin, or the wait for one."""
        if is_last:
            self.transport.close()
        if self.transport.is_closing():
            return
        if self._later:
            self.request = self._later.pop(0)
            self._loop.call_soon(self._run, self.request)
        else:
            self.read_on(is_wanted=True)
            self._answered_at = self._loop.time()

    # What the server calls.

    def shutdown(self) -> None:
        """The request under way, or the next one, is the last; see `close_idle`."""
        self._is_last = True
        for request in (self.request, *self._later):
            if request is not None:
                request.be_last()

    def close_idle(self) -> None:
        """Closes the connection unless a request is under way."""
        if self.request is None or self.request.is_answered:
            self.transport.close()

    def is_stalled(self, now: float) -> bool:
        """Whether a request is under way and its next byte is overdue."""
        newest = self._newest
        is_under_way = newest is not None and not newest.is_answered
        unfinished = not newest.is_whole if newest and is_under_way else self._head_bytes >= 0
        return unfinished and now - self.last_data > STALL_SECONDS

    def is_spent(self, now: float) -> bool:
        """Whether no request has come for longer than a connection is kept."""
        waits = self._head_bytes < 0 and self._newest is not None and self._newest.is_answered
        return waits and now - self._answered_at > KEEP_ALIVE_SECONDS

    def is_unread(self, now: float) -> bool:
        """Whether the client has taken none of the bytes that wait for it for too long."""
        waiting = self.transport.get_write_buffer_size()
        sent = self._written - waiting
        if not waiting or sent != self._sent:
            self._sent, self._sent_at = sent, now
        return now - self._sent_at > UNREAD_SECONDS

    @property
    def moved(self) -> tuple[float, float, int]:
        """What changes whenever anything comes, is answered or is taken."""
        return self.last_data, self._answered_at, self._sent

    # Within.

    def _is_known(self, known: KnownHead, data: bytes) -> bool:
        """Whether these bytes are one more request with the head before; then it is under way."""
        before = self.request
        if before is None or not before.is_answered or self._newest is not before or not before.is_whole:
            return False
        body = known.body_of(data)
        if body is None:
            return False
        request = Request(self, known.head, self._client_host, is_last=self._is_last, is_http_1_0=False)
        request.head_bytes_max = len(data)
        request.add(body)
        request.is_whole = True
        self.request = self._newest = request
        self._run(request)
        return True

    def _learn(self, request: Request, data: bytes) -> None:
        """Its head is what the next request is compared with; a client whose heads all differ is let be."""
        self._lessons -= 1
        self._known = None if request.is_last else KnownHead.learn(request.head, data, request.size)

    def _run(self, request: Request) -> None:
        if not self.transport.is_closing():
            if self._is_paused:
                self.read_on(is_wanted=True)  # or nobody would hear of the client's leaving
            Eager(self._application(request), cast(set[Any], self._state.tasks))

    def _parse(self, data: bytes) -> bool:
        """Whether it is HTTP."""
        while True:
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                if self._parser.get_method() == b"CONNECT":
                    return False
                data = self._without_upgrade() + data[upgrade.args[0] :]
                self._parser = self._new_parser()
                self._is_upgrade = False
                continue
            except httptools.HttpParserError:
                return False
            return True

    def _without_upgrade(self) -> bytes:
        """The head that has just come, without the wish for another protocol: who ignores it goes on in this
        one (RFC 9110, 7.8), but the parser would not read the body.
        """
        parser = self._parser
        self._arriving += self._head_bytes
        lines = [
            b"%b %b HTTP/%b\r\n" % (parser.get_method(), self._target, parser.get_http_version().encode())
        ]
        for name, value in self._headers:
            if name == b"connection":
                if b"close" in value.lower():
                    lines.append(b"connection: close\r\n")
            elif name != b"upgrade":
                lines.append(b"%b: %b\r\n" % (name, value))
        return b"".join((*lines, b"\r\n"))

    def _end(self, answer: bytes) -> None:
        """The connection's last words, unless they would fall into the answer of the request before."""
        if not self.transport.is_closing():
            if self.request is None or self.request.is_answered:
                self.write(answer)
            self.transport.close()


def _path_of(target: bytes) -> str:
    """The path of a request's target, percent-encoding taken away."""
    if target[:1] != b"/" or b"#" in target:  # a proxy's form, or none: what the parser makes of it
        target = httptools.parse_url(target).path
    path = target.partition(b"?")[0].decode("ascii")
    return unquote(path) if "%" in path else path
