"""The least that a Python proxy can do: programs that pass calls on and do nothing else.

No keys, no limits, no metering, no journal: no proxy of the same parts can be cheaper than these. Rules: each
is as short as it can be, on the parts that metergate has (uvloop, httptools, uvicorn); connections to the
engine are kept. They trust both sides and handle no failure: they are yardsticks, not proxies.

- `bytes`: what comes in goes out, on a pair of connections, unread.
- `parsed`: both sides' HTTP is read by httptools and written anew, in callbacks, without a task.
- `asgi`: the same towards the engine, behind uvicorn as it is and an ASGI application: a task a request.

    python -m bench.edges.floor_proxy MODE ENGINE_PORT       prints `port N`, then serves until SIGTERM
"""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
import sys
from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final, cast

import httptools
import uvicorn
import uvloop

_HOST: Final = "127.0.0.1"
_HEAD: Final = (
    b"POST %b HTTP/1.1\r\nhost: engine\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
)
Message = MutableMapping[str, Any]


class Pair(asyncio.Protocol):
    """One of two connections: what it reads, the other writes."""

    other: asyncio.Transport

    def __init__(self, engine_port: int, client: asyncio.Transport | None = None) -> None:
        self._engine_port = engine_port
        self._client = client
        self._early: list[bytes] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if self._client is not None:
            self.other = self._client
        else:
            self._early = []
            self._task = asyncio.get_running_loop().create_task(self._connect())

    async def _connect(self) -> None:
        self.other, _ = await asyncio.get_running_loop().create_connection(
            lambda: Pair(self._engine_port, self._transport), _HOST, self._engine_port
        )
        early, self._early = self._early, None
        self.other.write(b"".join(early or ()))

    def data_received(self, data: bytes) -> None:
        if self._early is not None:
            self._early.append(data)
        elif not self.other.is_closing():
            self.other.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if hasattr(self, "other"):
            self.other.close()


class Answer(asyncio.Protocol):
    """A kept connection to the engine, and who the answer on it is for."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._parser = httptools.HttpResponseParser(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def ask(self, request: bytes, client: Client) -> None:
        self._client = client
        self._parts: list[bytes] = []
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)
        if self._parts:
            self._client.part(b"".join(self._parts))
            self._parts.clear()

    def on_message_begin(self) -> None:
        self._headers: list[tuple[bytes, bytes]] = []
        self._length = b""

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name, value))
        if name == b"content-length":
            self._length = value

    def on_headers_complete(self) -> None:
        self._client.begun(self._length)

    def on_body(self, body: bytes) -> None:
        self._parts.append(body)

    def on_message_complete(self) -> None:
        body = b"".join(self._parts)
        self._parts.clear()
        self._pool.idle.append(self)
        self._client.ended(body)


class Client:
    """Who an answer is for: told its length (none for a stream), its parts, its last."""

    def begun(self, length: bytes) -> None:
        raise NotImplementedError

    def part(self, body: bytes) -> None:
        raise NotImplementedError

    def ended(self, body: bytes) -> None:
        raise NotImplementedError


class Pool:
    """Connections to the engine that wait for a call."""

    def __init__(self, engine_port: int) -> None:
        self._engine_port = engine_port
        self.idle: deque[Answer] = deque()

    async def connect(self) -> Answer:
        _, answer = await asyncio.get_running_loop().create_connection(
            lambda: Answer(self), _HOST, self._engine_port
        )
        return answer


class Parsed(asyncio.Protocol, Client):
    """A client's connection, read and answered in callbacks."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._parser = httptools.HttpRequestParser(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._body: list[bytes] = []

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name.lower(), value))

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        body = b"".join(self._body)
        request = _HEAD % (self._url, len(body)) + body
        if self._pool.idle:
            self._pool.idle.pop().ask(request, self)
        else:
            self._task = asyncio.get_running_loop().create_task(self._ask_anew(request))

    async def _ask_anew(self, request: bytes) -> None:
        (await self._pool.connect()).ask(request, self)

    def begun(self, length: bytes) -> None:
        self._is_stream = not length
        if self._is_stream:
            self._write(
                b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
            )

    def part(self, body: bytes) -> None:
        if self._is_stream:
            self._write(b"%x\r\n%b\r\n" % (len(body), body))

    def ended(self, body: bytes) -> None:
        if self._is_stream:
            self._write((b"%x\r\n%b\r\n" % (len(body), body) if body else b"") + b"0\r\n\r\n")
        else:
            self._write(
                b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
                % (len(body), body)
            )

    def _write(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(data)


class Awaited(Client):
    """An answer that a task waits for."""

    def __init__(self) -> None:
        self.is_ended = False
        self.length: bytes | None = None
        self.bodies: list[bytes] = []
        self._waiter: asyncio.Future[None] | None = None

    def begun(self, length: bytes) -> None:
        self.length = length

    def part(self, body: bytes) -> None:
        self.bodies.append(body)
        self._wake()

    def ended(self, body: bytes) -> None:
        self.bodies.append(body)
        self.is_ended = True
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def more(self) -> bytes:
        """What has come since."""
        if not self.bodies:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        body = b"".join(self.bodies)
        self.bodies.clear()
        return body


class Application:
    """The same as an ASGI application."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def __call__(
        self,
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        answer = self._pool.idle.pop() if self._pool.idle else await self._pool.connect()
        awaited = Awaited()
        answer.ask(_HEAD % (scope["path"].encode(), len(body)) + body, awaited)
        part = await awaited.more()
        if awaited.length:
            while not awaited.is_ended:
                part += await awaited.more()
        is_stream = not awaited.length
        headers = [(b"content-type", b"text/event-stream" if is_stream else b"application/json")]
        if awaited.length:
            headers.append((b"content-length", awaited.length))
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        while is_stream and not awaited.is_ended:
            await send({"type": "http.response.body", "body": part, "more_body": True})
            part = await awaited.more()
        await send({"type": "http.response.body", "body": part, "more_body": False})


async def serve(mode: str, engine_port: int) -> None:
    """Serves until SIGTERM."""
    loop, stopped, pool = asyncio.get_running_loop(), asyncio.Event(), Pool(engine_port)
    gc.set_threshold(20_000, 20, 20)  # as metergate
    if mode == "asgi":
        config = uvicorn.Config(
            Application(pool),
            loop="uvloop",
            http="httptools",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            backlog=4096,
        )
        listener = socket.create_server((_HOST, 0), backlog=4096)
        _say(listener)
        await uvicorn.Server(config).serve([listener])
        return
    loop.add_signal_handler(signal.SIGTERM, stopped.set)
    made: Callable[[], asyncio.Protocol] = (
        (lambda: Pair(engine_port)) if mode == "bytes" else lambda: Parsed(pool)
    )
    server = await loop.create_server(made, _HOST, 0, backlog=4096)
    _say(server.sockets[0])
    await stopped.wait()


def _say(listener: socket.socket) -> None:
    print(f"port {listener.getsockname()[1]}", flush=True)


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1], int(sys.argv[2])))
