"""An engine's answer is the same however its bytes come: what is read without the parser and what with it."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.upstream import EngineNonsense, Exchange, Timeouts, UpstreamFault

PARTS = st.lists(
    st.one_of(st.binary(min_size=1, max_size=40), st.sampled_from([b"\r\n", b"a\r\n"])), max_size=8
)


class Pool:
    """Keeps what comes back."""

    timeouts = Timeouts()

    def __init__(self) -> None:
        self.kept: list[Exchange] = []

    def put_back(self, exchange: Exchange) -> None:
        self.kept.append(exchange)

    def forget(self, exchange: Exchange) -> None: ...


class Transport:
    """Takes everything."""

    def write(self, data: bytes) -> None: ...
    def abort(self) -> None: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...


class Heard:
    """A stream's sink."""

    def __init__(self) -> None:
        self.body = b""
        self.ends: list[UpstreamFault | None] = []

    def data(self, data: bytes) -> None:
        self.body += data

    def ended(self, fault: UpstreamFault | None) -> None:
        self.ends.append(fault)


def exchange_of(pool: Pool) -> Exchange:
    exchange = Exchange(pool)  # type: ignore[arg-type]
    transport: Any = Transport()
    exchange.connection_made(transport)
    return exchange


def cut(data: bytes, at: list[int]) -> list[bytes]:
    """The data in pieces."""
    places = sorted({place % (len(data) + 1) for place in at} | {0, len(data)})
    return [data[begin:end] for begin, end in pairwise(places) if begin < end]


def chunked(parts: list[bytes]) -> list[bytes]:
    """An answer in chunks, a piece for the head and for each of them."""
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    return [head, *(b"%x\r\n%b\r\n" % (len(part), part) for part in parts), b"0\r\n\r\n"]


LIKE_FRAMES = [b"2\r\nab\r\n", b"\r\n", b"ab\r\n" + b"." * 14, b"1\r\nx\r\n0\r\n\r\n", b"z"]
"""Chunks whose bytes look like chunks themselves, and one whose length, cut in two, is another's."""


async def streamed(exchange: Exchange, pieces: list[bytes]) -> Heard:
    exchange.send(b"request")
    heard = Heard()
    exchange.follow(heard)
    for piece in pieces:
        exchange.data_received(piece)
    return heard


@given(parts=PARTS, at=st.lists(st.integers(0, 10_000), max_size=6))
async def test_a_stream_is_read_alike_in_any_pieces(parts: list[bytes], at: list[int]) -> None:
    pool = Pool()
    exchange = exchange_of(pool)
    for pieces in (chunked(parts), cut(b"".join(chunked(parts)), at), chunked(parts)):
        heard = await streamed(exchange, pieces)
        assert heard.body == b"".join(parts) and heard.ends == [None]
    assert len(pool.kept) == 3


async def test_no_two_cuts_make_a_stream_another() -> None:
    """Guards against a chunk that is read past the parser while the parser is in the middle of another."""
    head, *rest = chunked(LIKE_FRAMES)
    body = b"".join(rest)
    for first in range(len(body)):
        for second in range(first, len(body)):
            heard = await streamed(exchange_of(Pool()), [head, *cut(body, [first, second])])
            assert heard.body == b"".join(LIKE_FRAMES) and heard.ends == [None], (first, second)


def whole(exchange: Exchange, pieces: list[bytes]) -> bytes:
    """The body of an unstreamed answer. Raises what `Exchange.whole` raises."""
    exchange.send(b"request")
    waiting = exchange.whole(1 << 20)
    future: Any = waiting.send(None)
    for piece in pieces:
        exchange.data_received(piece)
    assert future.done()
    with pytest.raises(StopIteration) as done:
        waiting.send(None)
    body: bytes = done.value.value
    return body


BODIES = (b"", b"{}", b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize(
    "line",
    [b"", b"connection: keep-alive\r\n", b"Date: today\r\n", b"x: \r\n", b"x: HTTP/1.1 200 OK\r\n"],
)
async def test_a_whole_answer_is_read_alike_in_any_pieces(body: bytes, line: bytes) -> None:
    """Guards against a body that is cut or padded, and against an answer that spoils the next one."""
    answer = b"HTTP/1.1 200 OK\r\n%bContent-Length: %d\r\n\r\n%b" % (line, len(body), body)
    for at in range(len(answer)):
        pool = Pool()
        exchange = exchange_of(pool)
        for pieces in ([answer], cut(answer, [at]), [answer], [answer[:30], answer[30:]]):
            assert whole(exchange, pieces) == body and exchange.status == 200
        assert len(pool.kept) == 4


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: Close\r\n\r\n{}",
    ],
)
async def test_a_connection_that_the_engine_ends_is_not_used_again(answer: bytes) -> None:
    pool = Pool()
    assert whole(exchange_of(pool), [answer]) == b"{}" and pool.kept == []


@pytest.mark.parametrize("length", [b"0x2", b"+2", b"-2", b"2, 2", b"2\r\ncontent-length: 3"])
async def test_a_length_that_is_none_is_refused(length: bytes) -> None:
    """Guards against reading more generously past the parser than the parser does."""
    with pytest.raises(EngineNonsense):
        whole(exchange_of(Pool()), [b"HTTP/1.1 200 OK\r\ncontent-length: %b\r\n\r\n{}" % length])
