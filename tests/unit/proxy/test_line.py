"""The transport that joins an answer's head with what follows it."""

import asyncio
from typing import Any, cast

import pytest
from uvicorn.protocols.http.flow_control import FlowControl

from proxy.bell import Bell
from proxy.line import CorkedTransport, DirectLine

HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n"


class Written:
    """A transport that remembers its writes."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.closed_after = -1
        self.waiting = 0

    def write(self, data: bytes) -> None:
        self.writes.append(data)

    def close(self) -> None:
        self.closed_after = len(self.writes)

    def get_write_buffer_size(self) -> int:
        return self.waiting

    def is_closing(self) -> bool:
        return self.closed_after >= 0


async def corked() -> tuple[Written, Any]:
    written = Written()
    return written, CorkedTransport(written, asyncio.get_running_loop())


async def test_head_and_body_leave_in_one_write() -> None:
    """Two system calls for an answer instead of one."""
    written, transport = await corked()
    transport.write(HEAD)
    transport.write(b"body")
    transport.write(b"more")
    await asyncio.sleep(0)
    assert written.writes == [HEAD + b"body", b"more"]


async def test_a_head_alone_leaves_at_the_end_of_the_turn() -> None:
    """A head that waits for a body which comes much later, or never."""
    written, transport = await corked()
    transport.write(HEAD)
    assert written.writes == []
    await asyncio.sleep(0)
    assert written.writes == [HEAD]


async def test_closing_loses_nothing() -> None:
    """A held head dropped by the close right behind it."""
    written, transport = await corked()
    transport.write(HEAD)
    transport.close()
    await asyncio.sleep(0)
    assert written.writes == [HEAD] and written.closed_after == 1
    assert transport.is_closing()


async def test_a_body_that_looks_like_a_head_stays_in_its_place() -> None:
    """Bytes of a body held back behind later ones."""
    written, transport = await corked()
    transport.write(HEAD)
    transport.write(HEAD)
    transport.write(b"end")
    await asyncio.sleep(0)
    assert b"".join(written.writes) == HEAD + HEAD + b"end"


async def test_a_client_that_takes_nothing_is_told_from_a_slow_one() -> None:
    """A client that never reads again holds its connection, its call and its buffers for ever."""
    written, transport = await corked()
    began = asyncio.get_running_loop().time()
    assert transport.unread_seconds(began + 500) == 0  # nothing waits: it is idle, not stuck
    transport.write(b"x" * 100)
    written.waiting = 100
    assert transport.unread_seconds(began + 510) == pytest.approx(10)
    transport.write(b"x" * 100)
    written.waiting = 200  # more waits, and still nothing was taken
    assert transport.unread_seconds(began + 600) == pytest.approx(100)
    transport.write(b"x" * 100)
    written.waiting = 299  # one byte was taken, though more waits than before
    assert transport.unread_seconds(began + 610) == 0
    assert transport.unread_seconds(began + 650) == pytest.approx(40)
    written.waiting = 0
    assert transport.unread_seconds(began + 900) == 0


class Server:
    """What a DirectLine looks at of the connection."""

    on_gone: Any = None


def line_of(cycle: Any, protocol: Any = None) -> DirectLine:
    return DirectLine(cycle, protocol or Server())


class Cycle:
    """What a DirectLine looks at of uvicorn's request cycle."""

    def __init__(self) -> None:
        self.flow = FlowControl(cast(asyncio.Transport, Written()))
        self.chunked_encoding: bool | None = True
        self.disconnected = False
        self.transport = Written()
        self.keep_alive = True
        self.response_started = self.response_complete = False
        self.waiting_for_100_continue = True
        self.scope = {"method": "POST"}
        self.default_headers = [(b"date", b"today")]
        self.message_event = Bell()
        self.body = bytearray(b"asked")
        self.more_body = False
        self.responses = 0

    def on_response(self) -> None:
        self.responses += 1


def test_a_chunk_is_framed_as_http_frames_it() -> None:
    """A wrong length in front of a chunk breaks the whole answer."""
    cycle: Any = Cycle()
    assert line_of(cycle).chunk(b"x" * 26)
    assert cycle.transport.writes == [b"1a\r\n" + b"x" * 26 + b"\r\n"]


def test_a_chunk_is_left_to_send_where_it_must_not_be_written_now() -> None:
    """A slow client's buffer would grow without limit; an empty chunk would end the answer."""
    cycle: Any = Cycle()
    assert not line_of(cycle).chunk(b"")
    cycle.flow.write_paused = True
    assert not line_of(cycle).chunk(b"x")
    cycle.flow.write_paused, cycle.chunked_encoding = False, None
    assert not line_of(cycle).chunk(b"x")  # the head has not gone out
    assert cycle.transport.writes == []


def test_a_chunk_for_a_client_that_has_gone_is_dropped() -> None:
    """A write into a lost connection is an error in the event loop for every chunk."""
    cycle: Any = Cycle()
    cycle.transport.close()
    assert line_of(cycle).chunk(b"x") and cycle.transport.writes == []


LINES = b"content-type: application/json\r\ncontent-length: 2\r\n"
HEAD_200 = b"HTTP/1.1 200 OK\r\ndate: today\r\n" + LINES


def test_a_whole_answer_is_written_once_and_ends_the_cycle() -> None:
    """A cycle left open after its answer: the connection would never serve its next request."""
    cycle: Any = Cycle()
    line_of(cycle).whole(200, LINES, b"{}")
    assert cycle.transport.writes == [HEAD_200 + b"\r\n{}"]
    assert cycle.response_started and cycle.response_complete and cycle.responses == 1
    assert cycle.message_event.is_set() and not cycle.waiting_for_100_continue
    assert not cycle.transport.is_closing()


def test_the_date_is_of_now() -> None:
    """Lines kept from another second, or from another server in this process."""
    for day in (b"monday", b"tuesday"):
        cycle: Any = Cycle()
        cycle.default_headers = [(b"date", day)]
        line_of(cycle).whole(200, LINES, b"{}")
        assert b"\r\ndate: " + day + b"\r\n" in cycle.transport.writes[0]


def test_the_last_answer_of_a_connection_says_so_and_closes_it() -> None:
    """`connection: close` forgotten: the client sends its next request into a closed connection."""
    cycle: Any = Cycle()
    cycle.keep_alive = False
    line_of(cycle).whole(200, LINES, b"{}")
    assert cycle.transport.writes == [HEAD_200 + b"connection: close\r\n\r\n{}"]
    assert cycle.transport.closed_after == 1


def test_a_head_is_answered_without_a_body() -> None:
    """A body that the client takes for the beginning of its next answer."""
    cycle: Any = Cycle()
    cycle.scope["method"] = "HEAD"
    line_of(cycle).whole(200, LINES, b"{}")
    assert cycle.transport.writes == [HEAD_200 + b"\r\n"]


def test_a_long_body_is_not_copied() -> None:
    """160 MB of embeddings copied to stand behind 200 bytes of head."""
    cycle: Any = Cycle()
    body = b"x" * 100_000
    line_of(cycle).whole(200, LINES, body)
    assert cycle.transport.writes == [HEAD_200 + b"\r\n", body]
    assert cycle.transport.writes[1] is body


def test_nothing_is_written_to_a_client_that_has_gone() -> None:
    cycle: Any = Cycle()
    cycle.transport.close()
    line_of(cycle).whole(200, LINES, b"{}")
    line_of(cycle).start(LINES)
    assert cycle.transport.writes == [] and cycle.responses == 0


def test_a_stream_begins_with_its_head() -> None:
    cycle: Any = Cycle()
    cycle.chunked_encoding = None
    line_of(cycle).start(b"content-type: text/event-stream\r\n")
    assert cycle.response_started and not cycle.response_complete
    assert line_of(cycle).chunk(b"x")
    head, chunk = cycle.transport.writes
    assert b"transfer-encoding: chunked\r\n" in head and head.endswith(b"\r\n\r\n")
    assert chunk == b"1\r\nx\r\n"


def test_a_stream_ends_in_one_write_where_its_client_keeps_up() -> None:
    """A client that waits for the end of an answer which is whole; a second end behind a slow one's first."""
    cycle: Any = Cycle()
    cycle.flow.write_paused = True
    assert not line_of(cycle).end() and cycle.responses == 0
    cycle.flow.write_paused = False
    assert line_of(cycle).end()
    assert cycle.transport.writes == [b"0\r\n\r\n"] and cycle.response_complete and cycle.responses == 1
    gone: Any = Cycle()
    gone.transport.close()
    assert line_of(gone).end() and gone.transport.writes == [] and gone.responses == 0


def test_a_body_is_taken_once_it_is_whole() -> None:
    """Half a request taken for all of it; one whose client has gone; reading left paused, so that nobody
    hears of the client's leaving.
    """
    cycle: Any = Cycle()
    cycle.flow.read_paused = True
    cycle.flow._transport.resume_reading = lambda: None
    cycle.more_body = True
    assert line_of(cycle).body() is None and cycle.body == b"asked"
    cycle.more_body = False
    assert line_of(cycle).body() == b"asked" and not cycle.flow.read_paused
    cycle.transport.close()
    assert line_of(cycle).body() is None


def test_a_call_is_told_that_its_client_has_gone() -> None:
    """An engine that works for nobody, where the client left before anyone asked to be told."""
    told: list[str] = []
    server, cycle = Server(), Cycle()
    line_of(cycle, server).on_gone(lambda: told.append("later"))
    assert told == [] and server.on_gone is not None
    cycle.transport.close()
    line_of(cycle, server).on_gone(lambda: told.append("at once"))
    assert told == ["at once"]
