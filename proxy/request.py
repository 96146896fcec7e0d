"""One request of a client, and the line on which its answer goes back.

Owns the body as it comes, the order of an answer's parts, and HTTP's framing of them. Knows nothing of what
is served. Rules: a head waits for the first bytes of its body, no longer than to the end of this turn of the
event loop, since a system call costs as much as all that we do with a request; nothing is written to a client
that is gone.
"""

from collections.abc import Callable
from http import HTTPStatus
from typing import Final, Protocol

from proxy.eager import Bell
from proxy.errors import BodyTooLarge, ClientGone
from proxy.headers import content_length
from proxy.known_head import Head

_JOINED_BYTES_MAX: Final = 64 << 10
"""A longer body is not copied to stand behind its head: the copy would cost more than the second write."""

UNASKED_BYTES_MAX: Final = 64 << 10
"""What is taken of a body before anybody has asked for it."""

_STATUS_LINES: Final = {
    status.value: b"HTTP/1.1 %d %b\r\n" % (status, status.phrase.encode()) for status in HTTPStatus
}


_FORGOTTEN: Final = Head("", "", [], None)


class Line(Protocol):
    """The connection, as far as an answer goes: `proxy.connection.Connection`."""

    is_full: bool
    """Whether the client is slower than its answer: it takes what is written, but later."""

    def is_gone(self) -> bool: ...
    def write(self, data: bytes) -> None: ...
    def soon(self, then: Callable[[], None]) -> None: ...
    def common(self) -> bytes: ...
    def room(self) -> Bell: ...
    def forget_head(self) -> None: ...
    def read_on(self, *, is_wanted: bool) -> None: ...
    def answered(self, is_last: bool) -> None: ...


class Request:
    """`client_host`: the address of who is connected; None where it has none.

    `head_bytes_max`: the head is no longer than that.
    """

    __slots__ = (
        "_chunked",
        "_head",
        "_is_http_1_0",
        "_is_last",
        "_line",
        "_parts",
        "_waits",
        "client_host",
        "head",
        "head_bytes_max",
        "is_answered",
        "is_whole",
        "on_gone",
        "size",
    )

    def __init__(
        self,
        line: Line,
        head: Head,
        client_host: str | None,
        *,
        is_last: bool,
        is_http_1_0: bool,
    ) -> None:
        self._line = line
        self._is_last = is_last
        self._is_http_1_0 = is_http_1_0
        self._parts: list[bytes] = []
        self._waits: Bell | None = None
        self._head = b""
        self._chunked = False
        self.head = head
        self.client_host: Final = client_host
        self.head_bytes_max = 0
        self.size = 0
        self.is_whole = False
        """Whether the body is here to its end."""
        self.is_answered = False
        self.on_gone: Callable[[], None] | None = None
        """Called if the client goes before it has its answer."""

    # What whoever answers calls.

    def forget_head(self) -> None:
        """Nobody needs it any more, and the answer may take long."""
        self.head = _FORGOTTEN
        self._line.forget_head()

    async def read(self, limit_bytes: int) -> bytes:
        """The body, as soon as it is here. Raises BodyTooLarge, as early as it is known, and ClientGone."""
        if self.is_whole and self.size <= limit_bytes:
            return self._take_body()
        announced = content_length(self.head.headers)
        while True:
            if self.size > limit_bytes or (announced is not None and announced > limit_bytes):
                raise BodyTooLarge(f"The body of your request is larger than {limit_bytes} bytes.")
            if self.is_whole:
                return self._take_body()
            if self._line.is_gone():
                raise ClientGone("The client closed the connection.")
            self._ask_for_the_body()
            if self._waits is None:
                self._waits = Bell()
                self._line.read_on(is_wanted=True)
            self._waits.clear()
            await self._waits

    def when_gone(self, then: Callable[[], None]) -> None:
        """`then` is called if the client goes before it has its answer; at once if it has gone."""
        if self._line.is_gone():
            then()
        else:
            self.on_gone = then

    def whole(self, status: int, lines: bytes, body: bytes) -> None:
        """Writes a whole answer; `lines` are its headers as they are sent, `content-length` among them."""
        assert not self.is_answered and not self._head and not self._chunked, "one request, one answer"
        line = self._line
        if line.is_gone():
            self.is_answered = True  # that it gets no answer is no fault
            return
        head = self._head_of(status, lines)
        if self.head.method == "HEAD":
            line.write(head)
        elif len(body) > _JOINED_BYTES_MAX:
            line.write(head)
            line.write(body)
        else:
            line.write(head + body)
        self._end()

    def start(self, lines: bytes) -> None:
        """Begins a stream."""
        if self._is_http_1_0:
            self._is_last = True  # its end is the connection's
        else:
            lines += b"transfer-encoding: chunked\r\n"
        self._chunked = True
        self._head = self._head_of(200, lines)
        self._line.soon(self._flush)

    def chunk(self, data: bytes) -> bool:
        """Writes some of a stream, or drops it if the client has gone. False where it is slow: then `drained`
        is to be awaited before there is more.
        """
        line = self._line
        if not data or line.is_gone():
            return True
        if not self._is_http_1_0:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        if self._head:
            data = self._head + data
            self._head = b""
        line.write(data)
        return not line.is_full

    async def drained(self) -> None:
        """Waits until a slow client has taken enough, or has gone."""
        while self._line.is_full and not self._line.is_gone():
            await self._line.room()

    def end(self) -> None:
        """Ends a stream."""
        if self._line.is_gone():
            self.is_answered = True
            return
        self._flush()
        if not self._is_http_1_0:
            self._line.write(b"0\r\n\r\n")
        self._end()

    def abandon(self) -> None:
        """Nothing more will be said: an answer that is not whole stays so, and the connection ends."""
        if not self.is_answered:
            self._flush()
            self._is_last = True
            self._end()

    # What the connection calls.

    def add(self, data: bytes) -> None:
        """The next bytes of the body."""
        if not self.is_answered:
            self._parts.append(data)
            self.size += len(data)

    @property
    def is_wanted(self) -> bool:
        """Whether the body is being waited for."""
        return self._waits is not None

    @property
    def is_unasked(self) -> bool:
        """Whether there is so much of the body that the rest waits until somebody asks for it."""
        return self.size > UNASKED_BYTES_MAX and not (self.is_whole or self.is_answered or self.is_wanted)

    def moved(self) -> None:
        """Something has come of the body, or nothing will any more."""
        if self._waits is not None:
            self._waits.set()

    def gone(self) -> None:
        """The client has gone."""
        then, self.on_gone = self.on_gone, None
        self.moved()
        if then is not None:
            then()

    @property
    def is_last(self) -> bool:
        """Whether no other request is taken on this connection."""
        return self._is_last

    def be_last(self) -> None:
        """No other request is taken on this connection."""
        self._is_last = True

    # Within.

    def _take_body(self) -> bytes:
        if self.size > UNASKED_BYTES_MAX:
            self._line.read_on(is_wanted=True)
        parts, self._parts = self._parts, []
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _head_of(self, status: int, lines: bytes) -> bytes:
        if self._is_last:
            lines += b"connection: close\r\n"
        return b"%b%b%b\r\n" % (_STATUS_LINES[status], self._line.common(), lines)

    def _flush(self) -> None:
        if self._head and not self._line.is_gone():
            head, self._head = self._head, b""
            self._line.write(head)

    def _end(self) -> None:
        self.is_answered = True
        self.on_gone = None
        self._line.answered(self._is_last)

    def _ask_for_the_body(self) -> None:
        """A client that waits to be asked for its body is asked, once."""
        if self._waits is None and not self.size:
            for name, value in self.head.headers:
                if name == b"expect" and value.lower() == b"100-continue":
                    self._line.write(b"HTTP/1.1 100 Continue\r\n\r\n")
