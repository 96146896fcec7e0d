"""The load for streams: many raw connections on one uvloop, which count what arrives and check that each
stream came whole.

Rules: nothing is decoded; an event is a blank line, an end is `[DONE]` followed by the last HTTP chunk. A
connection refused, cut, or short of an event is a `BrokenStream` and fails the phase: figures of a subject
that drops work are worth nothing. Must not know which subject answers, nor read its CPU time: callers pass a
callback for the moments that matter.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
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
    """What the load saw; `reads` says how many events arrived together. `chunks`, `reads`, bytes and time are
    those of the steady window where there is one; `events` are all, to the end. `cut` streams had not ended
    when patience did.
    """

    streams: int
    chunks: int
    reads: int
    received_bytes: int
    wall_s: float
    events: int
    cut: int = 0


class _Load:
    """What the connections of one run share: their request, their quota of streams, and the counts.

    Every stream must have `events_per_stream`; None where only their sum is known, and checked by the caller.
    """

    def __init__(self, request: bytes, streams: int, events_per_stream: int | None) -> None:
        self.request = request
        self.left = streams
        self.events_per_stream = events_per_stream
        self.events = 0
        self.reads = 0
        self.received_bytes = 0
        self.begun = 0
        self.opened = 0
        self.ended = 0
        self.streams = streams
        self.is_cut = False
        self.connections: set[asyncio.Transport] = set()
        loop = asyncio.get_running_loop()
        self.all_open: asyncio.Future[None] = loop.create_future()
        self.first_end: asyncio.Future[None] = loop.create_future()
        self.all_ended: asyncio.Future[None] = loop.create_future()

    def begin(self) -> bool:
        """Whether there is another stream to run."""
        if not self.left:
            return False
        self.left -= 1
        self.begun += 1
        return True

    def begin_no_more(self) -> None:
        """What is open goes on to its end."""
        self.left = 0
        self._look_for_the_end()

    def cut(self) -> None:
        """Closes whatever is still open."""
        self.is_cut = True
        for connection in list(self.connections):
            connection.abort()

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
        expected = count.events if self.events_per_stream is None else self.events_per_stream
        if count.events != expected or not count.done:
            done = "with" if count.done else "without"
            self.fail(f"a stream ended {done} [DONE] after {count.events} events, not {expected}")
        if not self.first_end.done():
            self.first_end.set_result(None)
        self._look_for_the_end()

    def _look_for_the_end(self) -> None:
        if not self.left and self.ended == self.begun and not self.all_ended.done():
            self.all_ended.set_result(None)

    def fail(self, why: str) -> None:
        for waited in (self.all_ended, self.all_open, self.first_end):
            if not waited.done():
                waited.set_exception(BrokenStream(why))

    def close(self) -> None:
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
        self._load.connections.add(self._transport)
        self._next()

    def _next(self) -> None:
        self._streaming = self._load.begin()
        if not self._streaming:
            self._transport.close()
            return
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
        self._load.connections.discard(self._transport)
        if self._streaming and not self._load.is_cut:
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
    duration_s: float | None = None,
) -> Arrived:
    """Closed loop: `streams` streams over `connections` keep-alive connections, each as fast as it goes.
    After `duration_s` none begins any more.
    """
    load = _Load(request, streams, events_per_stream)
    started_s = time.monotonic()
    if duration_s is not None:
        asyncio.get_running_loop().call_later(duration_s, load.begin_no_more)
    try:
        async with asyncio.timeout(limit_s):
            await _open(host, port, load, connections)
            await asyncio.shield(load.all_ended)
    except TimeoutError:
        raise BrokenStream(
            f"only {load.ended} of {load.begun} streams ended within {limit_s:.0f} s"
        ) from None
    finally:
        load.cut()
        load.close()
    wall_s = time.monotonic() - started_s
    return Arrived(load.ended, load.events, load.reads, load.received_bytes, wall_s, load.events)


async def hold_streams(
    host: str,
    port: int,
    request: bytes,
    *,
    streams: int,
    window_s: float,
    opens_within_s: float,
    ends_within_s: float,
    finish: Callable[[], Awaitable[None]],
    at_window_start: Callable[[], None],
    at_window_end: Callable[[], None],
) -> Arrived:
    """Opens `streams` streams at once, holds them for a steady window, then has the engine `finish` them all.

    The window begins when all are open and settled. A subject that lags behind may not have passed on
    everything `ends_within_s` later: what has not ended then is cut off, and counted.
    """
    load = _Load(request, streams, None)
    try:
        try:
            async with asyncio.timeout(opens_within_s):
                await _open(host, port, load, streams)
                await asyncio.shield(load.all_open)
        except TimeoutError:
            raise BrokenStream(
                f"only {load.opened} of {streams} streams were open after {opens_within_s:.0f} s"
            ) from None
        await asyncio.sleep(_SETTLING_S)
        at_window_start()
        started_s, events, reads, received = time.monotonic(), load.events, load.reads, load.received_bytes
        await asyncio.wait([load.first_end], timeout=window_s)
        wall_s = time.monotonic() - started_s
        window = (load.events - events, load.reads - reads, load.received_bytes - received)
        at_window_end()
        if load.first_end.done():
            load.first_end.result()
            raise BrokenStream("a stream ended before it was told to")
        await finish()
        await asyncio.wait([load.all_ended], timeout=ends_within_s)
        if load.all_ended.done():
            load.all_ended.result()
        return Arrived(streams, *window, wall_s, load.events, cut=streams - load.ended)
    finally:
        load.cut()
        load.close()


async def _open(host: str, port: int, load: _Load, connections: int) -> None:
    loop = asyncio.get_running_loop()
    for first in range(0, connections, _OPENING_AT_ONCE):
        together = range(first, min(first + _OPENING_AT_ONCE, connections))
        await asyncio.gather(*(loop.create_connection(lambda: _Stream(load), host, port) for _ in together))
