"""The load of slow streams: opens them all, follows the clock in each chunk, and sees that none lacks one.

Must not know who relays them.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

from bench.client import BrokenStream
from bench.edges.slow_engine import STAMP, STAMP_BYTES

_OPENING_AT_ONCE = 32
_SETTLING_S = 3.0
_LAST_CHUNK = b"\r\n0\r\n\r\n"
_MARK = b'"content":"' + STAMP


class StreamReader:
    """Pure: one stream's bytes in, the stamps of its chunks out, wherever reads split it."""

    __slots__ = ("_rest", "chunks")

    def __init__(self) -> None:
        self.chunks = 0
        self._rest = b""

    def feed(self, data: bytes) -> list[int]:
        """When the chunks that are whole now were written, by the engine's clock. Raises BrokenStream."""
        data = self._rest + data if self._rest else data
        stamps: list[int] = []
        place = data.find(_MARK)
        while place >= 0:
            begin = place + len(_MARK)
            end = begin + STAMP_BYTES - 1
            if len(data) < end:
                break
            number, _, at_ns = data[begin:end].partition(b" ")
            if int(number) != self.chunks:
                raise BrokenStream(f"chunk {int(number)} came where {self.chunks} was due")
            self.chunks += 1
            stamps.append(int(at_ns))
            place, data = -1, data[end:]
            place = data.find(_MARK)
        self._rest = data if place >= 0 else data[-64:]
        return stamps

    @property
    def ended(self) -> bool:
        """Whether all of it has come, [DONE] and HTTP's own end."""
        return self._rest.endswith(_LAST_CHUNK)


@dataclass(slots=True)
class SlowLoad:
    """What all streams share. `delays_ns` fills while `is_measured`."""

    request: bytes
    streams: int
    opened: int = 0
    ended: int = 0
    chunks: int = 0
    is_measured: bool = False
    fault: str | None = None
    delays_ns: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Seen:
    """What the load saw: delays of the window's chunks, and how long opening all of them took."""

    delays_ns: list[int]
    opening_s: float
    window_s: float


class _Stream(asyncio.Protocol):
    """One connection, one stream."""

    def __init__(self, load: SlowLoad) -> None:
        self._load = load
        self._reader = StreamReader()
        self.begun: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._is_answered = self._is_ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._load.request)

    def data_received(self, data: bytes) -> None:
        now_ns = time.monotonic_ns()
        load = self._load
        if not self._is_answered:
            if not data.startswith(b"HTTP/1.1 200"):
                self._fail(f"refused: {data[:300]!r}")
                return
            self._is_answered = True
        try:
            stamps = self._reader.feed(data)
        except BrokenStream as fault:
            self._fail(str(fault))
            return
        load.chunks += len(stamps)
        if load.is_measured:
            load.delays_ns += [now_ns - stamp for stamp in stamps]
        if stamps and not self.begun.done():
            load.opened += 1
            self.begun.set_result(None)
        if self._reader.ended:
            self._is_ended = True
            load.ended += 1
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._is_ended:
            self._fail(f"cut off after {self._reader.chunks} chunks: {exc!r}")

    def _fail(self, why: str) -> None:
        self._load.fault = self._load.fault or why
        if not self.begun.done():
            self.begun.set_result(None)


async def hold_slow_streams(
    host: str,
    port: int,
    load: SlowLoad,
    *,
    window_s: float,
    limit_s: float,
    at_window_start: Callable[[], None],
    at_window_end: Callable[[], None],
    finish: Callable[[], None],
) -> Seen:
    """Opens all, follows them for `window_s`, and has them end. Raises BrokenStream."""
    loop = asyncio.get_running_loop()
    room = asyncio.Semaphore(_OPENING_AT_ONCE)

    async def open_one() -> None:
        async with room:
            _, stream = await loop.create_connection(lambda: _Stream(load), host, port)
            await stream.begun

    try:
        async with asyncio.timeout(limit_s):
            began_s = time.monotonic()
            await asyncio.gather(*(open_one() for _ in range(load.streams)))
            opening_s = time.monotonic() - began_s
            _check(load)
            gc.collect()
            gc.freeze()
            gc.disable()
            await asyncio.sleep(_SETTLING_S)
            at_window_start()
            load.is_measured, began_s = True, time.monotonic()
            await asyncio.sleep(window_s)
            load.is_measured, ended_s = False, time.monotonic()
            at_window_end()
            _check(load)
            await asyncio.to_thread(finish)
            while load.ended < load.streams:
                _check(load)
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise BrokenStream(f"{load.opened} opened, {load.ended} ended of {load.streams}") from None
    finally:
        gc.enable()
    return Seen(load.delays_ns, opening_s, ended_s - began_s)


def _check(load: SlowLoad) -> None:
    if load.fault is not None:
        raise BrokenStream(load.fault)
