"""How events reach the connection: HTTP chunks written straight to the transport, one chunk an event.

The transport is the server's own (uvicorn's request cycle holds it): a write a token through ASGI would cost
a task switch a token. The server still writes the headers and the last chunk. Faulty wires cut events in two
across writes, or hold several back for one write.
"""

import asyncio
import random
import socket
import struct
from collections import deque
from collections.abc import Callable
from typing import Any

# A stream whose client does not read pauses here; the engine's own server pauses at the same mark.
BUFFER_MAX_BYTES = 65_536
# Between the two halves of a cut event: enough for the kernel to send them apart.
CUT_GAP_S = 0.001


class TransportMissing(Exception):
    """The app runs under a server that does not let it reach the connection; it needs uvicorn."""


def transport_of(send: Any) -> asyncio.Transport:
    """The connection's transport."""
    transport = getattr(getattr(send, "__self__", None), "transport", None)
    if transport is None:
        raise TransportMissing("the simulator runs under uvicorn only")
    return transport  # type: ignore[no-any-return]


def framed(event: bytes) -> bytes:
    """An HTTP chunk."""
    return b"%x\r\n%b\r\n" % (len(event), event)


class Wire:
    """Writes events as they come."""

    __slots__ = ("_transport", "writes")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self.writes = 0

    @property
    def gone(self) -> bool:
        """The client has left, wholly or with its sending half."""
        return self._transport.is_closing()

    @property
    def full(self) -> bool:
        return self._transport.get_write_buffer_size() > BUFFER_MAX_BYTES

    @property
    def withheld(self) -> int:
        """How many of the events that were written have not gone out whole."""
        return 0

    def write(self, events: list[bytes]) -> None:
        self.writes += 1
        self._transport.write(b"".join([b"%x\r\n%b\r\n" % (len(event), event) for event in events]))

    def when_flushed(self, then: Callable[[], None]) -> None:
        then()

    def die(self, reset: bool) -> None:
        """Closes under the answer: with a FIN, or with a RST once what was written had time to leave."""
        if reset:
            asyncio.get_running_loop().call_later(20 * CUT_GAP_S, reset_connection, self._transport)
        else:
            self._transport.close()


class FaultyWire(Wire):
    """Cuts events and holds them back."""

    __slots__ = ("_coalesce", "_cut_at", "_held", "_pieces", "_random", "_then", "_timer")

    def __init__(
        self,
        transport: asyncio.Transport,
        *,
        cut_at_byte: int | None,
        cut_seed: int | None,
        coalesce_events: int,
    ) -> None:
        super().__init__(transport)
        self._cut_at = cut_at_byte
        self._random = None if cut_seed is None else random.Random(cut_seed)  # noqa: S311 - faults, no secrets
        self._coalesce = coalesce_events
        self._held: list[bytes] = []
        self._pieces: deque[bytes] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._then: Callable[[], None] | None = None

    @property
    def withheld(self) -> int:
        return len(self._held) + (len(self._pieces) + 1) // 2  # of each event two pieces

    def write(self, events: list[bytes]) -> None:
        self.writes += 1
        self._held += map(framed, events)
        if len(self._held) >= self._coalesce:
            self._release()

    def _release(self) -> None:
        held, self._held = self._held, []
        if self._cut_at is None and self._random is None:
            if held:
                self._transport.write(b"".join(held))
            return
        for chunk in held:
            at = self._random.randrange(1, len(chunk)) if self._random else (self._cut_at or 0) % len(chunk)
            self._pieces += (chunk[:at], chunk[at:])
        if self._timer is None:
            self._next_piece()

    def _next_piece(self) -> None:
        self._timer = None
        if self.gone:
            return  # what has not gone out stays withheld
        # The rest of one chunk and the begin of the next go together: a read never ends where an event does.
        piece = self._pieces.popleft() if self._pieces else b""
        if piece:
            self._transport.write(piece)
        if self._pieces:
            self._timer = asyncio.get_running_loop().call_later(CUT_GAP_S, self._next_piece)
        elif self._then is not None:
            then, self._then = self._then, None
            then()

    def when_flushed(self, then: Callable[[], None]) -> None:
        self._release()
        if self._timer is None:
            then()
        else:
            self._then = then


def reset_connection(transport: asyncio.Transport) -> None:
    """Closes with a RST: what the kernel has not sent yet is lost."""
    connection = transport.get_extra_info("socket")
    if connection is not None and not transport.is_closing():
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
