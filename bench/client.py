"""The load for streams: many raw connections on one uvloop, which count what arrives and check that each
stream came whole.

Rules: nothing is decoded; an event is a blank line, an end is `[DONE]` followed by the last HTTP chunk. A
connection refused, cut, or short of an event is a `BrokenStream` and ends the run: figures of a subject that
drops work are worth nothing. Must not know which subject answers, nor read its CPU time: callers pass a
callback for the moments that matter.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from bench.eventcount import EventCount

_OPENING_AT_ONCE = 64
"""Connections opened together: below any listen backlog."""

_SETTLING_S = 0.3
"""After the last stream opened, let set-up work run out before the steady window begins."""


class BrokenStream(Exception):
    """A stream was refused, cut off, or ended with the wrong number of events."""


@dataclass(frozen=True, slots=True)
class Arrived:
    """What the load saw; `reads` says how many events arrived together."""

    streams: int
    chunks: int
    reads: int
    received_bytes: int
    wall_s: float


class _Load:
    """What the connections of one run share: their request, their quota of streams, and the counts."""

    def __init__(self, request: bytes, streams: int, events_per_stream: int) -> None:
        self.request = request
        self.left = streams
        self.events_per_stream = events_per_stream
        self.events = 0
        self.reads = 0
        self.received_bytes = 0
        self.opened = 0
        self.ended = 0
        self.streams = streams
        self.connections: list[asyncio.Transport] = []
        self.all_open: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.first_end: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.all_ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def note_opened(self) -> None:
        self.opened += 1
        if self.opened == self.streams and not self.all_open.done():
            self.all_open.set_result(None)

    def note_read(self, data: bytes, *, first: bool) -> bool:
        """False if a stream begins with anything but 200."""
        self.reads += 1
        self.received_bytes += len(data)
        refused = first and not data.startswith(b"HTTP/1.1 200")
        if refused:
            self.fail(f"refused: {data[:300]!r}")
        return not refused

    def note_ended(self, count: EventCount) -> None:
        self.ended += 1
        if count.events != self.events_per_stream or not count.done:
            done = "with" if count.done else "without"
            self.fail(
                f"a stream ended {done} [DONE] after {count.events} events, not {self.events_per_stream}"
            )
        if not self.first_end.done():
            self.first_end.set_result(None)
        if self.ended == self.streams and not self.all_ended.done():
            self.all_ended.set_result(None)

    def fail(self, why: str) -> None:
        for waited in (self.all_ended, self.all_open, self.first_end):
            if not waited.done():
                waited.set_exception(BrokenStream(why))

    def close(self) -> None:
        for connection in self.connections:
            connection.abort()
        for waited in (self.all_ended, self.all_open, self.first_end):
            if waited.done() and not waited.cancelled():
                waited.exception()  # looked at, so that the loop does not report it a second time


class _Stream(asyncio.Protocol):
    """One keep-alive connection that runs one stream after another while the load has any left."""

    def __init__(self, load: _Load) -> None:
        self._load = load
        self._count = EventCount()
        self._streaming = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._load.connections.append(self._transport)
        self._next()

    def _next(self) -> None:
        if not self._load.left:
            self._streaming = False
            self._transport.close()
            return
        self._load.left -= 1
        self._streaming = True
        self._count = EventCount()
        self._transport.write(self._load.request)

    def data_received(self, data: bytes) -> None:
        load, count = self._load, self._count
        if not load.note_read(data, first=not count.begun):
            self._transport.abort()
            return
        had_none = not count.events
        load.events += count.feed(data)
        if had_none and count.events:
            load.note_opened()
        if count.ended:
            load.note_ended(count)
            self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._streaming:
            self._load.fail(f"a stream was cut off after {self._count.events} events: {exc!r}")


async def run_streams(
    host: str,
    port: int,
    request: bytes,
    *,
    streams: int,
    connections: int,
    events_per_stream: int,
    limit_s: float,
) -> Arrived:
    """Closed loop: `streams` streams over `connections` keep-alive connections, each as fast as it goes."""
    load = _Load(request, streams, events_per_stream)
    started_s = time.monotonic()
    await _open(host, port, load, connections)
    try:
        await asyncio.wait_for(asyncio.shield(load.all_ended), limit_s)
    except TimeoutError:
        raise BrokenStream(f"only {load.ended} of {streams} streams ended within {limit_s:.0f} s") from None
    finally:
        load.close()
    return Arrived(streams, load.events, load.reads, load.received_bytes, time.monotonic() - started_s)


async def hold_streams(
    host: str,
    port: int,
    request: bytes,
    *,
    streams: int,
    events_per_stream: int,
    window_s: float,
    limit_s: float,
    at_window_start: Callable[[], None],
    at_window_end: Callable[[], None],
) -> Arrived:
    """Opens `streams` streams at once and keeps them to their end; returns what arrived in the steady window.

    The window begins when all are open and settled, and ends after `window_s` or with the first end,
    whichever is sooner.
    """
    load = _Load(request, streams, events_per_stream)
    try:
        async with asyncio.timeout(limit_s):
            await _open(host, port, load, streams)
            await asyncio.shield(load.all_open)
            await asyncio.sleep(_SETTLING_S)
            if load.first_end.done():
                raise BrokenStream("the first stream ended before the last was open: give them more chunks")
            at_window_start()
            started_s, events, reads, received = (
                time.monotonic(),
                load.events,
                load.reads,
                load.received_bytes,
            )
            await asyncio.wait([load.first_end], timeout=window_s)
            ended_s = time.monotonic()
            window = (load.events - events, load.reads - reads, load.received_bytes - received)
            at_window_end()
            await asyncio.shield(load.all_ended)
    except TimeoutError:
        raise BrokenStream(
            f"{load.opened} opened, {load.ended} ended of {streams} within {limit_s:.0f} s"
        ) from None
    finally:
        load.close()
    return Arrived(streams, *window, wall_s=ended_s - started_s)


async def _open(host: str, port: int, load: _Load, connections: int) -> None:
    loop = asyncio.get_running_loop()
    for first in range(0, connections, _OPENING_AT_ONCE):
        together = range(first, min(first + _OPENING_AT_ONCE, connections))
        await asyncio.gather(*(loop.create_connection(lambda: _Stream(load), host, port) for _ in together))
