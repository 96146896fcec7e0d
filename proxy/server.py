"""uvicorn, with the bounds and the way of stopping that a proxy needs.

Owns what lies between the socket and the ASGI application: how slowly and how largely a request may come
in, and that a stop lets running calls finish, then cuts them, then settles them. Knows nothing of what is
served. Rules:

- A client that stops taking its answer is cut off after UNREAD_SECONDS: its call ends as if it had left.
- The head and the body of a request must come without a pause of more than STALL_SECONDS; one sweep looks
  at all connections, so a request costs no timer.
- First signal: stop accepting, wait up to `drain_seconds`, cut the streams, leave. Second signal: cut at
  once.
- Connections that are open then take one more request, answered with `connection: close`. One without any is
  closed after LINGER_SECONDS, so that few requests cross with the close; those are for the client to send
  again, and safe to: nothing of them has begun.
"""

import asyncio
import logging
import signal
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from types import FrameType
from typing import Any, Final, cast
from urllib.parse import unquote

import httptools
import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from ledger import lifeline
from proxy import headers
from proxy.answer import DIRECT_LINE
from proxy.bell import Bell
from proxy.errors import ApiError, BodyUnreadable, HeadTooLarge

STALL_SECONDS: Final = 30.0
"""As nginx's client_header_timeout and client_body_timeout, halved: an edge proxy sees more of these."""

UNREAD_SECONDS: Final = 120.0
"""How long a client may take no byte of its answer: twice nginx's send_timeout, since people read along."""

KEEP_ALIVE_SECONDS: Final = 75
"""nginx's keepalive_timeout towards clients; longer than what load balancers keep to us (60 s is common)."""

CUT_SECONDS: Final = 10.0
"""What a cut stream gets to be drained and settled."""

TICK_SECONDS: Final = 1.0

LINGER_SECONDS: Final = 1.0
"""How long an idle connection may still bring a request after a stop: those of busy clients do."""

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


_JOINED_BYTES_MAX: Final = 64 << 10
"""A longer body is not copied to stand behind its head: the copy would cost more than the second write."""


class CorkedTransport:
    """A transport that keeps an answer's head back until its first bytes of body come: one write for both.

    uvicorn writes the head by itself, and a system call costs as much as all that we do with a request. ASGI
    lets a server wait with the head; ours waits no longer than to the end of this turn of the event loop.
    """

    __slots__ = ("_call_soon", "_head", "_sent", "_sent_at", "_transport", "_written")

    def __init__(self, transport: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._call_soon = loop.call_soon
        self._head = b""
        self._written = self._sent = 0
        self._sent_at = loop.time()

    def write(self, data: bytes) -> None:
        """Writes, but for a head, which waits for what comes next."""
        self._written += len(data)
        if self._head:
            if len(data) > _JOINED_BYTES_MAX:
                self._flush()
            else:
                data = self._head + data
                self._head = b""
            self._transport.write(data)
        elif data.startswith(b"HTTP/1.1 ") and data.endswith(b"\r\n\r\n"):
            self._head = data
            self._call_soon(self._flush)
        else:
            self._transport.write(data)

    def close(self) -> None:
        """Closes, once all is written."""
        self._flush()
        self._transport.close()

    def is_closing(self) -> bool:
        """Whether it is closed, or will be. For each answer: not through `__getattr__`."""
        closing: bool = self._transport.is_closing()
        return closing

    def unread_seconds(self, now: float) -> float:
        """How long the client has taken none of the bytes that wait for it; 0 where none wait."""
        waiting = self._transport.get_write_buffer_size()
        sent = self._written - waiting
        if not waiting or sent != self._sent:
            self._sent, self._sent_at = sent, now
        return now - self._sent_at

    def _flush(self) -> None:
        if self._head:
            head, self._head = self._head, b""
            self._transport.write(head)

    def __getattr__(self, name: str) -> Any:
        """Everything else is the transport's own."""
        return getattr(self._transport, name)


class DirectLine:
    """One request past ASGI's messages: the extension DIRECT_LINE.

    `lines` are headers as they are sent, each with its line end. What only `receive` and `send` know how to
    do is to wait: for a body that is still coming, for a slow client.
    """

    __slots__ = ("_cycle", "_protocol")

    _defaults: tuple[object, bytes] = (None, b"")
    """uvicorn's own headers (the date), which change once a second, and their lines."""

    def __init__(self, cycle: RequestResponseCycle, protocol: "BoundedProtocol") -> None:
        self._cycle = cycle
        self._protocol = protocol

    def body(self) -> bytes | None:
        """The request's body, if it is here already; to be taken once."""
        cycle = self._cycle
        if cycle.more_body or cycle.transport.is_closing():
            return None
        cycle.flow.resume_reading()  # or nobody would hear of the client's leaving
        body, cycle.body = cycle.body, bytearray()
        return bytes(body)

    def on_gone(self, then: Callable[[], None]) -> None:
        """`then` is called if the client goes before it has its answer; at once if it has gone."""
        if self._cycle.transport.is_closing():
            then()
        else:
            self._protocol.on_gone = then

    def whole(self, status: int, lines: bytes, body: bytes) -> None:
        """Writes a whole answer; `content-length` is among the lines."""
        cycle = self._cycle
        if cycle.transport.is_closing():
            cycle.disconnected = True  # that it gets no answer is no fault
            return
        assert not cycle.response_started, "one request, one answer"
        head = self._head(status, lines)
        if cycle.scope["method"] == "HEAD":
            cycle.transport.write(head)
        elif len(body) > _JOINED_BYTES_MAX:
            cycle.transport.write(head)
            cycle.transport.write(body)
        else:
            cycle.transport.write(head + body)
        self._complete()

    def start(self, lines: bytes) -> None:
        """Writes the head of a stream."""
        cycle = self._cycle
        if not cycle.transport.is_closing():
            cycle.chunked_encoding = True
            cycle.transport.write(self._head(200, lines + b"transfer-encoding: chunked\r\n"))

    def chunk(self, data: bytes) -> bool:
        """Writes a chunk of a stream whose head is sent, or drops it if the client has gone. False where a
        slow client has to be waited for.
        """
        cycle = self._cycle
        if cycle.flow.write_paused or cycle.chunked_encoding is not True or not data:
            return False
        if not cycle.transport.is_closing():
            cycle.transport.write(b"%x\r\n%b\r\n" % (len(data), data))
        return True

    def end(self) -> bool:
        """Ends a stream whose head is sent. False where a slow client has to be waited for."""
        cycle = self._cycle
        if cycle.flow.write_paused or cycle.chunked_encoding is not True:
            return False
        if not cycle.transport.is_closing():
            cycle.transport.write(b"0\r\n\r\n")
            self._complete()
        return True

    def _complete(self) -> None:
        cycle = self._cycle
        cycle.response_complete = True
        cycle.message_event.set()
        if not cycle.keep_alive:
            cycle.transport.close()
        cycle.on_response()

    def _head(self, status: int, lines: bytes) -> bytes:
        """The whole head; from here on the answer counts as begun."""
        cycle = self._cycle
        known, defaults = DirectLine._defaults
        if known is not cycle.default_headers:
            defaults = headers.lines(cycle.default_headers)
            DirectLine._defaults = cycle.default_headers, defaults
        cycle.response_started = True
        cycle.waiting_for_100_continue = False
        if cycle.keep_alive:
            return b"%b%b%b\r\n" % (STATUS_LINE[status], defaults, lines)
        return b"%b%b%bconnection: close\r\n\r\n" % (STATUS_LINE[status], defaults, lines)


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


class Server(uvicorn.Server):
    """`cut` ends what is still running after the drain, and returns when it is settled."""

    def __init__(
        self,
        app: Any,
        *,
        drain_seconds: float,
        on_stop: Callable[[], None],
        cut: Callable[[], Awaitable[None]],
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=BoundedProtocol,
                ws="none",
                loop="uvloop",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                backlog=4096,
                timeout_graceful_shutdown=int(drain_seconds + CUT_SECONDS),
            )
        )
        self._drain_seconds = drain_seconds
        self._on_stop = on_stop
        self._cut = cut
        self._hurry = asyncio.Event()
        self._told = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listens, and tells the supervisor so."""
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        lifeline.on_end_of_supervisor(self.stop)
        self._sweeper = asyncio.create_task(self._sweep())
        lifeline.say_ready()

    def stop(self) -> None:
        """Begins to stop; called again, hurries."""
        if self.should_exit:
            self._hurry.set()
        self.should_exit = True
        self._told.set()

    async def main_loop(self) -> None:
        """Until it is to stop; once a second for the date of answers. uvicorn's own looks ten times a
        second.
        """
        while not await self.on_tick(0):
            with suppress(TimeoutError):
                async with asyncio.timeout(TICK_SECONDS):
                    await self._told.wait()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal: a clean stop ends with exit status 0, so nothing is raised again."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self.stop)
        else:
            raise SystemExit(128 + signal.Signals(sig).value)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Lets running calls finish, then cuts them."""
        self._on_stop()
        tasks = [asyncio.create_task(self._close_idle()), asyncio.create_task(self._cut_after_drain())]
        await super().shutdown(sockets)
        for task in (*tasks, self._sweeper):
            task.cancel()

    async def _close_idle(self) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._hurry.wait(), min(LINGER_SECONDS, self._drain_seconds))
        for connection in list(self.server_state.connections):
            cast(BoundedProtocol, connection).close_idle()

    async def _cut_after_drain(self) -> None:
        try:
            await asyncio.wait_for(self._hurry.wait(), self._drain_seconds)
        except TimeoutError:
            logging.getLogger("metergate.server").warning(
                "calls still run after %g s: they are cut and settled", self._drain_seconds
            )
        await self._cut()

    async def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(STALL_SECONDS / 6)
            now = loop.time()
            for connection in list(self.server_state.connections):
                protocol = cast(BoundedProtocol, connection)
                if protocol.is_stalled(now) or protocol.is_spent(now):
                    protocol.transport.close()
                elif protocol.is_unread(now):
                    protocol.transport.abort()
