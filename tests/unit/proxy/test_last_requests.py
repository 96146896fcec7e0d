"""Connections of a server that has begun to stop: what is still served on them, and how they end."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from uvicorn.server import ServerState

from proxy.connection import BoundedProtocol

REQUEST = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}"


async def app(_scope: Any, receive: Any, send: Any) -> None:
    """Answers once the body is there."""
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[BoundedProtocol, asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection from both sides."""
    config = uvicorn.Config(app, http=BoundedProtocol, lifespan="off", log_config=None)
    config.load()
    made: list[BoundedProtocol] = []

    def make() -> BoundedProtocol:
        made.append(BoundedProtocol(config, ServerState(), {}))
        return made[-1]

    server = await asyncio.get_running_loop().create_server(make, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    while not made:
        await asyncio.sleep(0)
    yield made[0], reader, writer
    writer.close()
    server.close()


async def answer(reader: asyncio.StreamReader) -> str:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    assert await reader.readexactly(2) == b"ok"
    return head


async def test_a_request_that_crosses_with_the_stop_is_answered_and_is_the_last() -> None:
    """Guards against calls that a client has to send again, though somebody was there to take them."""
    for is_fresh in (True, False):
        async with connected() as (protocol, reader, writer):
            if not is_fresh:
                writer.write(REQUEST)
                assert "connection: close" not in await answer(reader)
            protocol.shutdown()
            writer.write(REQUEST)
            assert "connection: close" in await answer(reader)
            assert await reader.read() == b""


async def test_a_request_under_way_at_the_stop_is_answered_and_is_the_last() -> None:
    async with connected() as (protocol, reader, writer):
        writer.write(REQUEST[:-1])
        while protocol.cycle is None:
            await asyncio.sleep(0)
        protocol.shutdown()
        protocol.close_idle()
        writer.write(REQUEST[-1:])
        assert "connection: close" in await answer(reader)
        assert await reader.read() == b""


async def test_a_connection_without_a_request_is_closed_in_the_end() -> None:
    """Guards against a stop that waits for the keep-alive of a client that is silent."""
    async with connected() as (protocol, reader, _):
        protocol.shutdown()
        protocol.close_idle()
        assert await reader.read() == b""
