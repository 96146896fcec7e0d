"""The transport that joins an answer's head with what follows it."""

import asyncio
from typing import Any

from proxy.server import CorkedTransport

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
    assert transport.unread_seconds(began + 510) == 10
    transport.write(b"x" * 100)
    written.waiting = 200  # more waits, and still nothing was taken
    assert transport.unread_seconds(began + 600) == 100
    transport.write(b"x" * 100)
    written.waiting = 299  # one byte was taken, though more waits than before
    assert transport.unread_seconds(began + 610) == 0
    assert transport.unread_seconds(began + 650) == 40
    written.waiting = 0
    assert transport.unread_seconds(began + 900) == 0
