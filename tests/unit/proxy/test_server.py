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

    def write(self, data: bytes) -> None:
        self.writes.append(data)

    def close(self) -> None:
        self.closed_after = len(self.writes)

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
