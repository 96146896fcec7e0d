"""Questions to an engine, over real sockets: answered, answered on a new connection, or given up."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from proxy.asking import ask
from proxy.pool import Pool
from proxy.upstream import EngineGone, Timeouts

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def engine(serve: Serve) -> AsyncIterator[Pool]:
    async def whole(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        finally:
            writer.close()

    async with await asyncio.start_server(whole, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        pool = Pool(f"http://127.0.0.1:{port}/base", Timeouts(), engine_key="engine-key")
        yield pool
        pool.close()


async def test_a_question_carries_the_engines_key_and_its_answer_comes_whole() -> None:
    """Guards against a probe that an engine with a key answers 401, and so has no engine up."""
    heads = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            heads.append(head)
            if b"content-length: 3" in head:
                assert await reader.readexactly(3) == b"[1]"
            writer.write(
                b"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\nno" if len(heads) > 1 else ANSWER
            )

    async with engine(serve) as pool:
        assert await ask(pool, "/v1/models", None, 5.0) == (200, b"{}")
        assert await ask(pool, "/tokenize", b"[1]", 5.0) == (404, b"no")
    assert heads[0].startswith(b"GET /base/v1/models HTTP/1.1\r\n")
    assert heads[1].startswith(b"POST /base/tokenize HTTP/1.1\r\n")
    assert all(b"authorization: Bearer engine-key\r\n" in head for head in heads)


async def test_a_connection_that_was_closed_meanwhile_is_no_answer() -> None:
    """Guards against an engine taken for down because its idle connections end first."""
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(ANSWER)
        await reader.readuntil(b"\r\n\r\n")  # read, and not answered: it closes

    async with engine(serve) as pool:
        assert (await ask(pool, "/v1/models", None, 5.0))[0] == 200
        assert (await ask(pool, "/v1/models", None, 5.0))[0] == 200
    assert connections == 2


async def test_an_engine_that_closes_at_once_is_asked_once() -> None:
    """Guards against questions for ever to an engine that dies of them."""
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.readuntil(b"\r\n\r\n")

    async with engine(serve) as pool:
        with pytest.raises(EngineGone):
            await ask(pool, "/v1/models", None, 5.0)
    assert connections == 1


async def test_a_question_that_is_given_up_leaves_no_connection() -> None:
    """Guards against a descriptor lost at each probe of an engine that hangs."""
    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await reader.read()
        ended.set()

    async with engine(serve) as pool:
        with pytest.raises(TimeoutError):
            await ask(pool, "/v1/models", None, 0.05)
        assert pool.in_flight == 0
        async with asyncio.timeout(5):
            await ended.wait()
