"""A request's body as it comes, and how its answer is written."""

from collections.abc import Callable
from typing import Any

import pytest

from proxy.eager import Bell, Eager
from proxy.errors import BodyTooLarge, ClientGone
from proxy.known_head import Head
from proxy.request import UNASKED_BYTES_MAX, Request

LINES = b"content-type: application/json\r\ncontent-length: 2\r\n"
HEAD = b"HTTP/1.1 200 OK\r\ndate: today\r\n" + LINES


class Written:
    """A connection that remembers what was done with it."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.is_full = self.gone = False
        self.reads: list[bool] = []
        self.later: list[Callable[[], None]] = []
        self.ended: list[bool] = []
        self.bell = Bell()

    def is_gone(self) -> bool:
        return self.gone

    def write(self, data: bytes) -> None:
        assert not self.gone
        self.writes.append(data)

    def soon(self, then: Callable[[], None]) -> None:
        self.later.append(then)

    def common(self) -> bytes:
        return b"date: today\r\n"

    def room(self) -> Bell:
        self.bell.clear()
        return self.bell

    def read_on(self, *, is_wanted: bool) -> None:
        self.reads.append(is_wanted)

    def forget_head(self) -> None: ...

    def answered(self, is_last: bool) -> None:
        self.ended.append(is_last)


def asked(
    method: str = "POST", *headers: tuple[bytes, bytes], is_last: bool = False, old: bool = False
) -> tuple[Written, Request]:
    line = Written()
    head = Head(method, "/", list(headers), None)
    request = Request(line, head, "127.0.0.1", is_last=is_last, is_http_1_0=old)
    return line, request


def test_a_whole_answer_is_written_once_and_ends_the_request() -> None:
    """A request left open after its answer: the connection would never serve its next one."""
    line, request = asked()
    request.whole(200, LINES, b"{}")
    assert line.writes == [HEAD + b"\r\n{}"] and line.ended == [False] and request.is_answered


def test_the_last_answer_of_a_connection_says_so() -> None:
    """`connection: close` forgotten: the client sends its next request into a closed connection."""
    line, request = asked()
    request.be_last()
    request.whole(200, LINES, b"{}")
    assert line.writes == [HEAD + b"connection: close\r\n\r\n{}"] and line.ended == [True]


def test_a_head_is_answered_without_a_body() -> None:
    """A body that the client takes for the beginning of its next answer."""
    line, request = asked("HEAD")
    request.whole(200, LINES, b"{}")
    assert line.writes == [HEAD + b"\r\n"]


def test_a_long_body_is_not_copied() -> None:
    """160 MB of embeddings copied to stand behind 200 bytes of head."""
    line, request = asked()
    body = b"x" * 100_000
    request.whole(200, LINES, body)
    assert line.writes[0] == HEAD + b"\r\n" and line.writes[1] is body


def test_an_answer_for_a_client_that_has_gone_is_dropped() -> None:
    """A write into a lost connection is an error in the event loop."""
    line, request = asked()
    line.gone = True
    request.whole(200, LINES, b"{}")
    assert line.writes == [] and request.is_answered


def test_a_streams_head_leaves_with_its_first_chunk() -> None:
    """Two system calls for the begin of an answer instead of one."""
    line, request = asked()
    request.start(b"a: b\r\n")
    assert line.writes == []
    assert request.chunk(b"x" * 26)
    head = b"HTTP/1.1 200 OK\r\ndate: today\r\na: b\r\ntransfer-encoding: chunked\r\n\r\n"
    assert line.writes == [head + b"1a\r\n" + b"x" * 26 + b"\r\n"]
    line.later[0]()
    request.end()
    assert line.writes[1:] == [b"0\r\n\r\n"] and line.ended == [False]


def test_a_streams_head_alone_leaves_at_the_end_of_the_turn() -> None:
    """A head that waits for a body which comes much later, or never."""
    line, request = asked()
    request.start(b"a: b\r\n")
    line.later[0]()
    assert len(line.writes) == 1 and line.writes[0].endswith(b"\r\n\r\n")
    request.chunk(b"x")
    assert line.writes[1] == b"1\r\nx\r\n"


def test_an_empty_chunk_is_none() -> None:
    """It would end the answer."""
    line, request = asked()
    request.start(b"")
    assert request.chunk(b"") and line.writes == []


def test_a_stream_that_is_left_unfinished_does_not_look_whole() -> None:
    """A client that takes half an answer for all of it."""
    line, request = asked()
    request.start(b"")
    request.chunk(b"x")
    request.abandon()
    request.abandon()
    assert line.writes[-1].endswith(b"1\r\nx\r\n") and line.ended == [True]


def test_a_client_of_http_1_0_gets_no_chunks() -> None:
    """It would take their lengths for the answer; the end of the connection is the end of its stream."""
    line, request = asked(is_last=True, old=True)
    request.start(b"a: b\r\n")
    request.chunk(b"data: 1\n\n")
    request.end()
    assert line.writes == [b"HTTP/1.1 200 OK\r\ndate: today\r\na: b\r\nconnection: close\r\n\r\ndata: 1\n\n"]
    assert line.ended == [True]


def test_a_slow_client_is_said_to_be_slow_and_waited_for() -> None:
    """A slow client's buffer would grow without limit, or its stream would stop for good."""
    line, request = asked()
    over: list[str] = []
    request.start(b"")
    line.is_full = True
    assert not request.chunk(b"x") and len(line.writes) == 1

    async def wait() -> None:
        await request.drained()
        over.append("drained")

    Eager(wait(), set())
    line.bell.set()
    assert not over  # it is full still
    line.is_full = False
    line.bell.set()
    assert over == ["drained"]


def test_a_chunk_for_a_client_that_has_gone_is_dropped() -> None:
    """A write into a lost connection is an error in the event loop for every chunk."""
    line, request = asked()
    request.start(b"")
    line.gone = True
    assert request.chunk(b"x")
    request.end()
    assert line.writes == [] and request.is_answered


def test_who_answers_is_told_once_that_the_client_has_gone_and_not_after_the_answer() -> None:
    """An engine works on for nobody; or the next request's call is ended for this one's client."""
    told: list[int] = []
    line, request = asked()
    request.when_gone(lambda: told.append(1))
    request.gone()
    request.gone()
    assert told == [1]
    line, request = asked()
    request.when_gone(lambda: told.append(2))
    request.whole(200, LINES, b"{}")
    request.gone()
    line, request = asked()
    line.gone = True
    request.when_gone(lambda: told.append(3))
    assert told == [1, 3]


class Reading:
    """A request that is being read."""

    def __init__(self, limit: int, *headers: tuple[bytes, bytes]) -> None:
        self.line, self.request = asked("POST", *headers)
        self.limit = limit
        self.result: Any = None

    def begin(self) -> "Reading":
        Eager(self._read(), set())
        return self

    async def _read(self) -> None:
        try:
            self.result = await self.request.read(self.limit)
        except (BodyTooLarge, ClientGone) as error:
            self.result = type(error)

    def come(self, data: bytes, *, is_last: bool = False) -> None:
        self.request.add(data)
        self.request.is_whole = is_last
        self.request.moved()


def test_a_body_that_is_here_is_taken_without_waiting() -> None:
    reading = Reading(10)
    reading.come(b"ab")
    reading.come(b"cd", is_last=True)
    assert reading.begin().result == b"abcd" and reading.line.reads == []


def test_a_body_is_waited_for() -> None:
    """A body that came in two packets read as its first."""
    reading = Reading(10).begin()
    reading.come(b"ab")
    assert reading.result is None and reading.line.reads == [True]
    reading.come(b"cd", is_last=True)
    assert reading.result == b"abcd"


@pytest.mark.parametrize("is_whole", [False, True])
def test_a_body_that_is_too_long_is_refused_as_early_as_that_is_known(is_whole: bool) -> None:
    """Memory for whatever a client chooses to send."""
    reading = Reading(3).begin()
    reading.come(b"abcd", is_last=is_whole)
    assert reading.result is BodyTooLarge
    told = Reading(3, (b"content-length", b"4")).begin()
    assert told.result is BodyTooLarge and told.request.size == 0


def test_a_client_that_leaves_while_it_sends_is_no_call() -> None:
    """A call waits for ever for a body that will not come."""
    reading = Reading(10).begin()
    reading.come(b"ab")
    reading.line.gone = True
    reading.request.gone()
    assert reading.result is ClientGone


def test_a_client_that_waits_to_be_asked_is_asked_once() -> None:
    """curl waits a second before it sends a long body unasked."""
    reading = Reading(10, (b"expect", b"100-Continue")).begin()
    reading.come(b"ab")
    reading.come(b"cd", is_last=True)
    assert reading.line.writes == [b"HTTP/1.1 100 Continue\r\n\r\n"] and reading.result == b"abcd"


def test_what_nobody_has_asked_for_is_not_read_without_limit() -> None:
    """16 MB for each connection of somebody without a key."""
    _, request = asked()
    request.add(b"x" * UNASKED_BYTES_MAX)
    assert not request.is_unasked
    request.add(b"x")
    assert request.is_unasked
    request.is_whole = True
    assert not request.is_unasked


def test_what_comes_after_the_answer_is_dropped() -> None:
    """A refused body kept until its connection ends."""
    _, request = asked()
    request.whole(401, LINES, b"{}")
    request.add(b"x" * 100)
    assert request.size == 0
