"""A small HTTP/1.1 client for trusted engines, on httptools, the parser that uvicorn itself uses.

Owns one connection to an engine (`proxy.pool` keeps them): the answer on it, its deadline, pausing a reader
that is ahead of its client, and the half-close. Knows nothing of OpenAI, of tenants or of usage. Rules:

- One request at a time on a connection.
- What plainly is a whole answer or a whole chunk is taken without the parser; all else is the parser's to
  read, and nothing is read otherwise than it would (tests/unit/proxy/test_engine_answers.py).
- What arrived in one read is handed on in one piece, without a task switch: a stream's `Sink` is called
  from `data_received`.
- A failure is told once, as an EngineGone, EngineSilent or EngineNonsense, and `answered` says whether a
  byte had come.
"""

import asyncio
from dataclasses import dataclass
from typing import Final, Protocol, cast

import httptools

from proxy.eager import Bell

DRAIN_SECONDS: Final = 5.0
"""How long a half-closed stream may go on: vLLM aborts within about 30 ms and then ends it."""

_PLAIN: Final = b"HTTP/1.1 200 OK\r\n"
_LENGTH: Final = b"\r\ncontent-length:"
_LENGTH_CHARS_MAX: Final = 10

_HELD_BYTES_MAX: Final = 256 << 10
"""What is held for a reader that has not begun to follow; then reading pauses."""


class UpstreamFault(Exception):
    """The engine did not answer as it should; `answered`: a first byte had come."""

    def __init__(self, message: str, *, answered: bool) -> None:
        super().__init__(message)
        self.answered = answered


class EngineUnreachable(UpstreamFault):
    """No connection to the engine could be made."""


class EngineGone(UpstreamFault):
    """The engine closed the connection before its answer was whole."""


class EngineSilent(UpstreamFault):
    """The engine said nothing for longer than it may."""


class BrokenOff(UpstreamFault):
    """We have ended it ourselves."""


class EngineNonsense(UpstreamFault):
    """What the engine sent is not HTTP, or is longer than we take."""


class Sink(Protocol):
    """What follows a streamed answer; called from the connection's `data_received`, so neither may block."""

    def data(self, data: bytes) -> None:
        """The next bytes of the body: all that arrived together."""

    def ended(self, fault: UpstreamFault | None) -> None:
        """The body is whole (None), or will never be."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """In seconds: to connect, to the answer's first byte, and between two bytes of it."""

    connect_seconds: float = 5.0
    first_byte_seconds: float = 600.0
    gap_seconds: float = 120.0


class Keeper(Protocol):
    """Whose an exchange is: `proxy.pool.Pool`."""

    timeouts: Timeouts

    def put_back(self, exchange: "Exchange") -> None: ...
    def forget(self, exchange: "Exchange") -> None: ...


class Exchange(asyncio.Protocol):
    """One connection, and the answer that is coming on it."""

    def __init__(self, pool: Keeper) -> None:
        self._pool = pool
        self._loop = asyncio.get_running_loop()
        self._between = False
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport = cast(asyncio.Transport, None)
        self._lost = False
        self._half_closed = False
        self.deadline = 0.0
        self.idle = False
        self.used_before = False
        self._bell = Bell()
        self._parsed = False
        """Whether the parser is in the middle of a message."""
        self._begin()

    def _begin(self) -> None:
        """Forgets the last answer."""
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self._chunks: list[bytes] = []
        self._held = 0
        self._limit = 0
        self._answered = False
        self._complete = False
        self._reusable = False
        self._paused = False
        self._fault: UpstreamFault | None = None
        self._sink: Sink | None = None

    # What the relay calls.

    def send(self, request: bytes) -> None:
        """Sends a request, head and body in one piece; forgets the answer before."""
        self._begin()
        self.idle = False
        self.deadline = self._loop.time() + self._pool.timeouts.first_byte_seconds
        self._transport.write(request)

    async def first(self) -> None:
        """Waits until `status`, `headers` and the first byte of the body are here. Raises UpstreamFault.

        The head alone says nothing: vLLM sends it while the request still waits in its queue.
        """
        while not self._answered and not self._fault:
            await self._wait()
        if not self._answered and self._fault:
            raise self._fault

    async def whole(self, limit_bytes: int) -> bytes:
        """Waits for the whole answer and returns its body. Raises UpstreamFault."""
        self._limit = limit_bytes
        if self._paused:
            self.resume()
        while not self._complete and not self._fault:
            await self._wait()
        if self._fault:
            raise self._fault
        body = b"".join(self._chunks)
        self._chunks = []
        self._put_back()
        return body

    def follow(self, sink: Sink) -> None:
        """Hands the body to `sink` from now on; what has come already goes first. `headers` are forgotten."""
        self.headers.clear()
        self._sink = sink
        if self._paused:
            self.resume()
        self._hand_on()

    def pause(self) -> None:
        """Stops reading: the client is slower than the engine."""
        if not self._paused and not self._complete and not self._lost:
            self._paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        """Reads on."""
        if self._paused and not self._lost:
            self._paused = False
            self.deadline = self._loop.time() + self._pool.timeouts.gap_seconds
            self._transport.resume_reading()

    def half_close(self) -> None:
        """Says that we will send no more: vLLM takes it for a disconnect, aborts, and tells its last counts.

        TLS knows no half-close here: what has arrived is read, then the connection is closed.
        """
        if self._complete or self._lost or self._half_closed:
            return
        self._half_closed = True
        if self._paused:
            self.resume()
        self.deadline = self._loop.time() + DRAIN_SECONDS
        if self._transport.can_write_eof():
            self._transport.write_eof()
        else:
            self._loop.call_later(0, self._transport.close)

    def break_off(self) -> None:
        """Ends it as it is: who waits for it gets BrokenOff."""
        self._fail(BrokenOff("we are stopping", answered=self._answered))
        self.abort()

    def abort(self) -> None:
        """Closes the connection now, with the answer unread."""
        self._pool.forget(self)
        if not self._lost:
            self._transport.abort()

    def expire(self) -> None:
        """The deadline has passed: the engine is silent, or an idle connection is old."""
        if self.idle:
            self.abort()
            return
        if self._paused:
            self.deadline = self._loop.time() + self._pool.timeouts.gap_seconds
            return  # we are not reading: the silence is ours
        self._fail(EngineSilent("the engine said nothing for too long", answered=self._answered))
        self.abort()

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self.idle:
            self.abort()  # nobody asked
            return
        if self._between and self._sink is not None and (chunk := _one_chunk(data)) is not None:
            if not self._half_closed:
                self.deadline = self._loop.time() + self._pool.timeouts.gap_seconds
            self._sink.data(chunk)
            return
        if not (self._take_chunk(data) if self._between else self._take_whole(data)):
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserError:
                self._fail(EngineNonsense("the engine's answer is not HTTP", answered=self._answered))
                self.abort()
                return
            if self._between and not data.endswith(b"\r\n"):
                self._between = False  # the beginning of the next chunk's length has come
        if self._answered and not self._half_closed:
            self.deadline = self._loop.time() + self._pool.timeouts.gap_seconds
        if self._held > _HELD_BYTES_MAX and self._held > self._limit and not self._complete:
            if self._limit:
                self._fail(EngineNonsense("the engine's answer is too long", answered=True))
                self.abort()
                return
            self.pause()
        if self._sink is not None:
            self._hand_on()
        elif self._complete or (self._answered and not self._limit):
            self._bell.set()

    def eof_received(self) -> bool:
        self._lose()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._lose()

    # What needs no parser: most of what comes, at a fifth of the cost.

    def _take_whole(self, data: bytes) -> bool:
        """Takes a plain answer that has come in one piece, between two messages; False for all else."""
        if self._parsed or self.status or not self._limit or not data.startswith(_PLAIN):
            return False
        end = data.find(b"\r\n\r\n")
        head = data[:end].lower()
        at = head.find(_LENGTH)
        if end < 0 or at < 0 or head.find(_LENGTH, at + 1) > 0:
            return False
        if b"\r\ntransfer-encoding:" in head or b"\r\nconnection:" in head:
            return False
        length = head[at + len(_LENGTH) :].partition(b"\r\n")[0].strip()
        if not length.isdigit() or int(length) != len(data) - end - 4 or length == b"0":
            return False
        self.status = 200
        self._chunks.append(data[end + 4 :])
        self._held = len(data)
        self._answered = self._complete = self._reusable = True
        return True

    def _take_chunk(self, data: bytes) -> bool:
        """Takes one whole chunk, where the parser waits for one; False for all else."""
        chunk = _one_chunk(data)
        if chunk is None:
            return False
        self._chunks.append(chunk)
        self._held += len(chunk)
        return True

    # What the parser calls.

    def on_message_begin(self) -> None:
        """An answer begins, or another one after it, which nobody asked for."""
        self._parsed = True

    def on_chunk_header(self) -> None:
        """A chunk's length has come."""
        self._between = False

    def on_chunk_complete(self) -> None:
        """A chunk is whole: the next one's length is to come."""
        self._between = True

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        self._answered = True
        self._chunks.append(body)
        self._held += len(body)

    def on_message_complete(self) -> None:
        self._answered = self._complete = self.status >= 200  # 1xx is a word on the way
        self._between = False
        self._parsed = not self._complete
        self._reusable = self._parser.should_keep_alive()  # the parser knows it here only

    # Within.

    def _wait(self) -> Bell:
        self._bell.clear()
        return self._bell

    def _hand_on(self) -> None:
        sink = self._sink
        if sink is None:
            return
        chunks = self._chunks
        if chunks:
            data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
            self._chunks = []
            self._held = 0
            sink.data(data)
        if self._complete or self._fault:
            self._sink = None
            if self._complete:
                self._put_back()
            sink.ended(None if self._complete else self._fault)

    def _put_back(self) -> None:
        """The answer has been taken: only now may another call have the connection."""
        if self._half_closed or self._lost or not self._reusable:
            self.abort()
        else:
            self._pool.put_back(self)

    def _lose(self) -> None:
        if self._lost:
            return
        self._lost = True
        self._pool.forget(self)
        if not self.idle and not self._complete:
            self._fail(EngineGone("the engine closed the connection", answered=self._answered))

    def _fail(self, fault: UpstreamFault) -> None:
        if self._complete or self._fault:
            return
        self._fault = fault
        if self._sink is not None:
            self._hand_on()
        else:
            self._bell.set()


def _one_chunk(data: bytes) -> bytes | None:
    """What is in one whole chunk; None for all else."""
    at = data.find(b"\r\n", 0, _LENGTH_CHARS_MAX)
    digits = data[:at]
    if at <= 0 or not digits.isalnum():
        return None
    try:
        length = int(digits, 16)
    except ValueError:
        return None
    if not length or len(data) != at + length + 4 or data[-2:] != b"\r\n":
        return None
    return data[at + 2 : -2]
