"""A deadline that passed while this process stood still: what waits in the socket is no silence."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from proxy.pool import Pool
from proxy.upstream import EngineGone, EngineSilent, Exchange, Timeouts, UpstreamFault

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
PATIENCE_S = 5.0
STALL_S = 1000.0
"""Past every deadline. A stall of the loop is a `sweep` with a later time, and nothing read before it."""


class Engine:
    """The engine's side, which needs no turn of the loop: what it sends waits in the other side's socket."""

    def __init__(self, listening: socket.socket, pool: Pool) -> None:
        self._listening = listening
        self.pool = pool

    def accept(self) -> socket.socket:
        connection, _ = self._listening.accept()
        return connection


@pytest.fixture
def engine() -> Iterator[Engine]:
    with engine_of(Timeouts()) as opened:
        yield opened


@contextmanager
def engine_of(timeouts: Timeouts) -> Iterator[Engine]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        yield Engine(listening, Pool(f"http://127.0.0.1:{port}", timeouts))


class Heard:
    """A stream's sink."""

    def __init__(self) -> None:
        self.body = b""
        self.first: asyncio.Event = asyncio.Event()
        self.end: asyncio.Future[UpstreamFault | None] = asyncio.get_running_loop().create_future()

    def data(self, data: bytes) -> None:
        self.body += data
        self.first.set()

    def ended(self, fault: UpstreamFault | None) -> None:
        self.end.set_result(fault)


async def begun(engine: Engine) -> tuple[Exchange, socket.socket, Heard]:
    """A stream of which a byte has come."""
    exchange = await engine.pool.post("/v1/completions", b"{}", "a-request")
    connection, heard = engine.accept(), Heard()
    connection.sendall(HEAD + b"1\r\na\r\n")
    async with asyncio.timeout(PATIENCE_S):
        await exchange.first()
        exchange.follow(heard)
        await heard.first.wait()
    return exchange, connection, heard


def stall(pool: Pool) -> None:
    """What is left undone while the loop stands still: all but the sweep that comes first after it."""
    pool.sweep(asyncio.get_running_loop().time() + STALL_S)


@pytest.mark.parametrize("half_closed", [False, True])
async def test_what_an_engine_said_while_the_loop_stood_still_is_read(
    engine: Engine, half_closed: bool
) -> None:
    """Guards against tokens that are made, sent and never billed, because the clock is read before the
    socket: a client that left, or a stream that would have gone on.
    """
    exchange, connection, heard = await begun(engine)
    if half_closed:
        exchange.half_close()
    with connection:
        connection.sendall(b"1\r\nb\r\n")
        connection.shutdown(socket.SHUT_WR)
        stall(engine.pool)
        async with asyncio.timeout(PATIENCE_S):
            assert isinstance(await heard.end, EngineGone)
    assert heard.body == b"ab"
    assert engine.pool.in_flight == 0


async def test_an_answer_that_waits_in_the_socket_is_not_late(engine: Engine) -> None:
    """Guards against a call that is answered 504, and stays unresolved, though its engine was in time."""
    exchange = await engine.pool.post("/v1/completions", b"{}", "a-request")
    with engine.accept() as connection:
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
        stall(engine.pool)
        async with asyncio.timeout(PATIENCE_S):
            assert await exchange.whole(1000) == b"{}"


async def test_stalls_one_after_another_are_each_forgiven(engine: Engine) -> None:
    """Guards against a second stall that ends a stream on account of the first, though bytes came between."""
    _, connection, heard = await begun(engine)
    with connection:
        stall(engine.pool)
        heard.first.clear()
        connection.sendall(b"1\r\nb\r\n")
        async with asyncio.timeout(PATIENCE_S):
            await heard.first.wait()
        connection.sendall(b"1\r\nc\r\n0\r\n\r\n")
        stall(engine.pool)
        async with asyncio.timeout(PATIENCE_S):
            assert await heard.end is None
    assert heard.body == b"abc"


@pytest.mark.parametrize("half_closed", [False, True])
async def test_an_engine_that_says_nothing_is_given_up_by_the_next_sweep(
    engine: Engine, half_closed: bool
) -> None:
    """Guards against a stream that hangs for ever, and a connection with it."""
    exchange, connection, heard = await begun(engine)
    if half_closed:
        exchange.half_close()
    with connection:
        stall(engine.pool)
        assert not heard.end.done()
        stall(engine.pool)
        assert isinstance(await heard.end, EngineSilent)
    assert heard.body == b"a" and engine.pool.in_flight == 0


async def test_an_engine_that_does_not_hear_is_given_up_though_it_talks(engine: Engine) -> None:
    """Guards against a stream that nobody wants and that its engine goes on with: bytes move no end here."""
    exchange, connection, heard = await begun(engine)
    exchange.half_close()
    with connection:
        stall(engine.pool)
        heard.first.clear()
        connection.sendall(b"1\r\nb\r\n")
        async with asyncio.timeout(PATIENCE_S):
            await heard.first.wait()
        stall(engine.pool)
        assert isinstance(await heard.end, EngineSilent)
    assert heard.body == b"ab"


async def test_an_idle_connection_that_is_old_is_closed_at_once(engine: Engine) -> None:
    """Guards against a connection that is taken in the moment its engine closes it: nothing waits in it."""
    exchange = await engine.pool.post("/v1/completions", b"{}", "a-request")
    with engine.accept() as connection:
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
        await exchange.whole(1000)
        stall(engine.pool)
        assert engine.pool._take() is None
