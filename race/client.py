"""One client's connection: one call after another, read no further than is needed to know how it went.

Rules: streams are counted, not decoded (`bench.eventcount`); only refusals are decoded. A connection that is
gone is opened anew for the next call. Must not know what the client wants of its answers.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import cast

from bench.eventcount import EventCount
from race.plan import Asked

_CONNECT_S = 20.0


@dataclass(slots=True)
class Answer:
    """How a call went. `status` 0: the connection closed before an answer began. `code` and `wait_ms` are a
    refusal's.
    """

    status: int = 0
    code: str = ""
    wait_ms: int | None = None
    left: bool = False
    whole: bool = False
    first_byte_s: float = 0.0
    ended_s: float = 0.0


class _Exchange(asyncio.Protocol):
    """One connection; `over` is done when the call that is on it is."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.closed = False
        self.over: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def begin(self, asked: Asked) -> asyncio.Future[None]:
        self.answer = Answer()
        self._asked = asked
        self._received = b""
        self._length: int | None = None
        self._count = EventCount()
        self._closing = False
        self.over = self._loop.create_future()
        self.transport.write(asked.request)
        if asked.leave_after and not asked.streamed:
            self._loop.call_later(asked.leave_after / 1000, self._leave, self.over)
        return self.over

    def _leave(self, over: asyncio.Future[None]) -> None:
        """Goes away, if that call is still running."""
        if self.over is over and not over.done():
            self.answer.left = True
            self.transport.close()
            self._end(whole=False)

    def data_received(self, data: bytes) -> None:
        if self.over is None or self.over.done():
            return
        answer = self.answer
        if not answer.status:
            self._received += data
            head_end = self._received.find(b"\r\n\r\n")
            if head_end < 0:
                return
            data, self._received = self._received[head_end + 4 :], self._received[: head_end + 4]
            self._read_head(self._received.lower())
            self._received = b""
        if self._length is not None:
            self._received += data
            if len(self._received) >= self._length:
                self._end(whole=True)
            return
        self._count.feed(data)
        if self._count.ended:
            self._end(whole=self._count.done)
        elif self._asked.leave_after and self._count.events >= self._asked.leave_after:
            self._leave(self.over)

    def _read_head(self, head: bytes) -> None:
        answer = self.answer
        answer.status = int(head[9:12])
        answer.first_byte_s = self._loop.time()
        for line in head.split(b"\r\n")[1:]:
            name, _, value = line.partition(b":")
            if name == b"content-length":
                self._length = int(value)
            elif name == b"retry-after-ms":
                answer.wait_ms = int(value)
            elif name == b"connection" and b"close" in value:
                self._closing = True

    def _end(self, *, whole: bool) -> None:
        answer = self.answer
        answer.whole = whole
        answer.ended_s = self._loop.time()
        if whole and answer.status != 200:
            answer.code = _code(self._received)
        if self._closing or not whole:
            self.closed = True
            self.transport.close()
        assert self.over is not None
        self.over.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        if self.over is not None and not self.over.done():
            self._end(whole=False)


class Connection:
    """A client's way to the data plane on `port`."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._exchange: _Exchange | None = None

    async def call(self, asked: Asked) -> Answer:
        """Makes one call; never raises for what the other side does."""
        exchange = self._exchange
        if exchange is None or exchange.closed:
            try:
                async with asyncio.timeout(_CONNECT_S):
                    _, exchange = await asyncio.get_running_loop().create_connection(
                        _Exchange, "127.0.0.1", self._port
                    )
            except (OSError, TimeoutError):
                return Answer()
            self._exchange = exchange
        await exchange.begin(asked)
        return exchange.answer

    def close(self) -> None:
        """Closes the connection."""
        if self._exchange is not None:
            self._exchange.transport.close()


def _code(body: bytes) -> str:
    """The error code of an answer in OpenAI's shape; its type where it has none."""
    try:
        error = json.loads(body)["error"]
        return str(error["code"] or error["type"])
    except (ValueError, LookupError, TypeError):
        return "unreadable"
