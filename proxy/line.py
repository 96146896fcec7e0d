"""A connection to a client, past ASGI's messages: how an answer's bytes are written.

Owns the joining of writes and the extension DIRECT_LINE, which does what uvicorn's `receive` and `send` do,
on the state that those keep. Knows nothing of what is served. Rules: a head waits for the first bytes of its
body, no longer than to the end of this turn of the event loop; nothing is written to a client that is gone.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final, Protocol

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from proxy import headers

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


class Connection(Protocol):
    """What carries a request: `proxy.connection.BoundedProtocol`."""

    on_gone: Callable[[], None] | None


class DirectLine:
    """One request past ASGI's messages: the extension DIRECT_LINE.

    `lines` are headers as they are sent, each with its line end. What only `receive` and `send` know how to
    do is to wait: for a body that is still coming, for a slow client.
    """

    __slots__ = ("_cycle", "_protocol")

    _defaults: tuple[object, bytes] = (None, b"")
    """uvicorn's own headers (the date), which change once a second, and their lines."""

    def __init__(self, cycle: RequestResponseCycle, protocol: Connection) -> None:
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
        """Writes the head of a stream, which has begun also where the client has just gone."""
        cycle = self._cycle
        cycle.chunked_encoding = True
        head = self._head(200, lines + b"transfer-encoding: chunked\r\n")
        if not cycle.transport.is_closing():
            cycle.transport.write(head)

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
