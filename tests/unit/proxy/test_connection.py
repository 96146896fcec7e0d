"""A client's connection, by its bytes: requests one after the other, bounds, and a server that stops."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import uvicorn
from uvicorn.server import ServerState

from proxy.connection import KEEP_ALIVE_SECONDS, STALL_SECONDS, UNREAD_SECONDS, Connection
from proxy.eager import Bell
from proxy.errors import ApiError, ClientGone
from proxy.request import Request
from proxy.server import Server

REQUEST = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}"
Plane = Callable[[Request], Awaitable[None]]


def say(request: Request, body: bytes) -> None:
    request.whole(200, b"content-length: %d\r\n" % len(body), body)


async def echo(request: Request) -> None:
    """Answers with the path and the body once the body is there."""
    try:
        body = await request.read(1 << 20)
    except ClientGone:
        return
    say(request, b"%b %b" % (request.head.path.encode(), body))


@asynccontextmanager
async def connected(
    plane: Plane = echo,
) -> AsyncIterator[tuple[Connection, asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection from both sides."""

    class Application:
        async def __call__(self, request: Request) -> None:
            try:
                await plane(request)
            finally:
                request.abandon()

    config = uvicorn.Config(
        Application(), http=Connection, lifespan="off", log_config=None, proxy_headers=False
    )  # type: ignore[arg-type]
    config.load()
    made: list[Connection] = []

    def make() -> Connection:
        made.append(Connection(config, ServerState(), {}))
        return made[-1]

    server = await asyncio.get_running_loop().create_server(make, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    try:
        async with asyncio.timeout(10):
            while not made:
                await asyncio.sleep(0)
            yield made[0], reader, writer
    finally:
        writer.close()
        made[0].transport.abort()
        server.close()
        await asyncio.sleep(0)


async def answer(reader: asyncio.StreamReader) -> tuple[str, bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    length = int(head.split("content-length: ")[1].split("\r\n")[0])
    return head, await reader.readexactly(length)


async def test_a_request_that_crosses_with_the_stop_is_answered_and_is_the_last() -> None:
    """Guards against calls that a client has to send again, though somebody was there to take them."""
    for is_fresh in (True, False):
        async with connected() as (connection, reader, writer):
            if not is_fresh:
                writer.write(REQUEST)
                assert "connection: close" not in (await answer(reader))[0]
            connection.shutdown()
            writer.write(REQUEST)
            assert "connection: close" in (await answer(reader))[0]
            assert await reader.read() == b""


async def test_a_request_under_way_at_the_stop_is_answered_and_is_the_last() -> None:
    async with connected() as (connection, reader, writer):
        writer.write(REQUEST[:-1])
        while connection.request is None:
            await asyncio.sleep(0)
        connection.shutdown()
        connection.close_idle()
        writer.write(REQUEST[-1:])
        assert "connection: close" in (await answer(reader))[0]
        assert await reader.read() == b""


async def test_a_connection_without_a_request_is_closed_in_the_end() -> None:
    """Guards against a stop that waits for the keep-alive of a client that is silent."""
    async with connected() as (connection, reader, _):
        connection.shutdown()
        connection.close_idle()
        assert await reader.read() == b""


@pytest.mark.parametrize("size", [1, 7, 64, 10_000])
async def test_requests_are_read_however_their_bytes_are_cut(size: int) -> None:
    """A request lost, or two run into one, where packets end in the middle of something."""
    sent = b"".join(
        b"POST /a%%2F%d?q HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (i, i, b"x" * i)
        for i in range(12)
    )
    chunked = (
        b"POST /last HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"
    )
    async with connected() as (_, reader, writer):
        for at in range(0, len(sent + chunked), size):
            writer.write((sent + chunked)[at : at + size])
            if size < 1000:
                await asyncio.sleep(0)
        for i in range(12):
            assert (await answer(reader))[1] == b"/a/%d %b" % (i, b"x" * i)
        assert (await answer(reader))[1] == b"/last abc"


async def test_requests_with_the_same_head_are_told_apart_by_their_bodies() -> None:
    """A body answered with another's, a request lost beside one that is known by its head."""
    head = b"POST /%b HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n"
    async with connected() as (connection, reader, writer):
        for number in range(30):
            path, body = b"b" if number % 10 == 7 else b"a", b"x" * (number + 1)
            sent = head % (path, len(body)) + body
            if number % 5 == 3:  # in two pieces, and with the next right behind it
                writer.write(sent[:-1])
                await asyncio.sleep(0.001)
                writer.write(sent[-1:] + head % (b"c", 2) + b"{}")
                assert (await answer(reader))[1] == b"/%b %b" % (path, body)
                assert (await answer(reader))[1] == b"/c {}"
                continue
            writer.write(sent)
            assert (await answer(reader))[1] == b"/%b %b" % (path, body)
        assert connection.request is not None and connection.request.is_answered
        connection.shutdown()
        writer.write(head % (b"a", 2) + b"{}")
        assert "connection: close" in (await answer(reader))[0]


async def test_the_rest_of_a_head_is_no_head() -> None:
    """What came of a head in its second packet, learned as a whole one: later those bytes are a request."""
    async with connected() as (connection, reader, writer):
        writer.write(REQUEST[:8])
        while connection.last_data == 0 or connection._head_bytes != 8:
            await asyncio.sleep(0)
        writer.write(REQUEST[8:])
        assert (await answer(reader))[1] == b"/ {}"
        writer.write(REQUEST[8:])
        assert (await answer(reader))[0].startswith("http/1.1 400 ")


async def test_requests_that_come_early_wait_for_the_answer_before() -> None:
    """Two answers in the wrong order, or in one another."""
    gates: list[Bell] = []

    async def slow(request: Request) -> None:
        gates.append(Bell())
        await gates[-1]
        say(request, request.head.path.encode())

    async with connected(slow) as (_, reader, writer):
        for path in (b"/1", b"/2", b"/3"):
            writer.write(b"GET %b HTTP/1.1\r\nhost: x\r\n\r\n" % path)
        for number in (1, 2, 3):
            while len(gates) < number:
                await asyncio.sleep(0)
            await asyncio.sleep(0.01)
            assert len(gates) == number  # none of the others has begun
            gates[-1].set()
            assert (await answer(reader))[1] == b"/%d" % number


async def test_a_client_that_leaves_is_noticed_and_its_early_requests_are_dropped() -> None:
    """A call goes on for nobody; a request of somebody who has gone is begun, and paid for."""
    began: list[str] = []
    left = asyncio.Event()

    async def call(request: Request) -> None:
        began.append(request.head.path)
        if request.head.path == "/1":
            request.when_gone(left.set)
            await left.wait()

    async with connected(call) as (_, _reader, writer):
        writer.write(b"GET /1 HTTP/1.1\r\nhost: x\r\n\r\n")
        while not began:
            await asyncio.sleep(0)
        writer.close()
        await left.wait()
    async with connected(call) as (connection, _reader, writer):
        left.clear()
        writer.write(b"GET /1 HTTP/1.1\r\nhost: x\r\n\r\nGET /2 HTTP/1.1\r\nhost: x\r\n\r\n")
        while len(began) < 2:
            await asyncio.sleep(0)
        connection.transport.abort()
        await left.wait()
        await asyncio.sleep(0.01)
    assert began == ["/1", "/1"]


async def test_what_is_no_http_is_told_so_and_only_between_answers() -> None:
    async with connected() as (_, reader, writer):
        writer.write(b"\x16\x03\x01 nonsense\r\n\r\n")
        head, body = await answer(reader)
        assert head.startswith("http/1.1 400 ") and b'"error"' in body and await reader.read() == b""
    begun = asyncio.Event()

    async def stream(request: Request) -> None:
        request.start(b"")
        request.chunk(b"half")
        begun.set()
        await asyncio.get_running_loop().create_future()

    async with connected(stream) as (_, reader, writer):
        writer.write(REQUEST)
        await begun.wait()
        writer.write(b"\x00nonsense\r\n\r\n")
        assert (await reader.read()).endswith(b"4\r\nhalf\r\n")


async def test_a_head_without_an_end_is_ended() -> None:
    """Memory for a head that never ends."""
    async with connected() as (_, reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nx: " + b"y" * (140 << 10))
        head, body = await answer(reader)
        assert head.startswith("http/1.1 431 ") and b'"error"' in body


async def test_a_client_that_asks_for_another_protocol_is_answered_in_this_one() -> None:
    """Java's own client asks for HTTP/2 with its first request, and goes on in HTTP/1.1."""
    upgrade = b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAEAAEAAAAIAAAAB\r\n"
    async with connected() as (_, reader, writer):
        writer.write(b"GET /1 HTTP/1.1\r\nhost: x\r\n" + upgrade + b"\r\n")
        assert (await answer(reader))[1] == b"/1 "
        writer.write(b"POST /2 HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n" + upgrade + b"\r\n{}")
        assert (await answer(reader))[1] == b"/2 {}"
        writer.write(REQUEST)
        assert (await answer(reader))[1] == b"/ {}"


async def test_a_body_waits_outside_until_somebody_wants_it() -> None:
    """Somebody without a key fills the memory with bodies."""
    gate = Bell()
    refuse = False

    async def guarded(request: Request) -> None:
        await gate
        if refuse:
            request.whole(401, b"content-length: 0\r\n", b"")
        else:
            say(request, b"%d" % len(await request.read(8 << 20)))

    for refuse in (False, True):
        gate.clear()
        async with connected(guarded) as (connection, reader, writer):
            writer.write(
                b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % (4 << 20) + b"x" * (4 << 20)
            )
            while connection.request is None or not connection.request.is_unasked:
                await asyncio.sleep(0)
            await asyncio.sleep(0.05)
            assert connection.request.size < 1 << 20
            gate.set()
            _, body = await answer(reader)
            assert body == b"" if refuse else body == b"%d" % (4 << 20)
            await writer.drain()
            writer.write(REQUEST)
            gate.set()
            assert (await answer(reader))[0].startswith("http/1.1 401" if refuse else "http/1.1 200")


async def test_the_bounds_of_time() -> None:
    """A connection that is held open for ever by who sends nothing, or takes nothing."""
    gate = Bell()

    async def stream(request: Request) -> None:
        try:
            await request.read(1 << 20)
        except ApiError:
            return
        await gate
        request.start(b"")
        while request.chunk(b"x" * 65_536):
            pass
        await request.drained()
        request.end()

    async with connected(stream) as (connection, reader, writer):
        now = connection.last_data
        assert connection.is_stalled(now + STALL_SECONDS + 1)  # it has said nothing at all
        writer.write(REQUEST[:-1])
        while connection.request is None:
            await asyncio.sleep(0)
        now = connection.last_data
        assert not connection.is_stalled(now + STALL_SECONDS - 1) and connection.is_stalled(
            now + STALL_SECONDS + 1
        )
        writer.write(REQUEST[-1:])
        while not connection.request.is_whole:
            await asyncio.sleep(0)
        later = connection.last_data + 10_000
        assert not connection.is_stalled(later)  # it is our turn
        assert not connection.is_unread(later) and not connection.is_spent(later)
        gate.set()
        while not connection.is_full:
            await asyncio.sleep(0)
        assert not connection.is_unread(later + 1) and not connection.is_unread(later + UNREAD_SECONDS)
        assert connection.is_unread(later + UNREAD_SECONDS + 2)
        while not connection.request.is_answered:
            await reader.read(1 << 20)
        now = asyncio.get_running_loop().time()
        assert not connection.is_stalled(now + 10_000)
        assert not connection.is_spent(now + KEEP_ALIVE_SECONDS - 1)
        assert connection.is_spent(now + KEEP_ALIVE_SECONDS + 1)
        writer.write(b"POST /")
        while connection.last_data < now:
            await asyncio.sleep(0)
        assert connection.is_stalled(connection.last_data + STALL_SECONDS + 1)
        assert not connection.is_spent(now + 10_000)


async def test_the_date_is_of_now() -> None:
    """Lines kept from another second, or from another server in this process."""
    async with connected() as (connection, reader, writer):
        for day in (b"monday", b"tuesday"):
            connection._state.default_headers = [(b"date", day)]
            writer.write(REQUEST)
            assert f"\r\ndate: {day.decode()}\r\n" in (await answer(reader))[0]


async def test_what_came_while_the_process_stood_still_is_read_before_anybody_is_cut_off() -> None:
    """A client whose bytes wait in the socket of a worker without a processor, taken for a silent one."""

    async def stop() -> None: ...

    async with connected() as (connection, reader, writer):
        server = Server(echo, drain_seconds=1, on_stop=lambda: None, cut=stop)
        server.server_state.connections = {connection}  # type: ignore[assignment]
        writer.write(REQUEST[:-1])
        while connection.request is None:
            await asyncio.sleep(0)
        late = connection.last_data + STALL_SECONDS + 1
        found = server.sweep(late, {})
        assert connection in found and not connection.is_gone()
        before = connection.last_data
        writer.write(REQUEST[-1:])
        assert (await answer(reader))[1] == b"/ {}" and connection.last_data > before
        writer.write(REQUEST[:-1])
        while connection.request.is_answered:
            await asyncio.sleep(0)
        later = connection.last_data + STALL_SECONDS + 1
        found = server.sweep(later, found)
        assert connection in found and not connection.is_gone()  # another stall than the one before
        server.sweep(later + 1, found)
        assert connection.is_gone()
