"""The benchmark's engine with slow streams: a chunk a second each, which says when it was written.

Rules: streams are spread over the second, as calls that began at different times are; a chunk holds its
number in the stream and the machine's monotonic clock. Streams go on until `POST /edges/finish`, and then end
as any other does, each at its next turn.

    python -m bench.edges.slow_engine       prints `port N`, then serves until SIGTERM
"""

from __future__ import annotations

import asyncio
import gc
import json
import resource
import signal
import time
from collections.abc import Callable
from typing import Final

import uvloop

from bench import wire
from bench.engine import EngineProtocol, Pacer, Tally, answers

MARK: Final = b"edges:slow:"
"""In a prompt: this is what the call wants."""

FINISH: Final = b"POST /edges/finish"
PERIOD_S: Final = 1.0
STAMP: Final = b"@"
STAMP_BYTES: Final = 1 + 6 + 1 + 18
"""`@`, the chunk's number, a blank, nanoseconds of the monotonic clock."""

_TURNS: Final = 100
"""Of a second: each has its share of the streams."""


class SlowStreams:
    """Every open slow stream, and whose turn it is."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._before, self._after, self._tail = _rendered()
        self._turns: list[dict[SlowProtocol, int]] = [{} for _ in range(_TURNS)]
        self._places: dict[SlowProtocol, int] = {}
        self._next = 0
        self._due_s = 0.0
        self._is_finishing = False

    def start(self) -> None:
        self._due_s = asyncio.get_running_loop().time()
        self._turn()

    def add(self, stream: SlowProtocol) -> None:
        """Its first chunk leaves at once, the others from its next turn on."""
        self._is_finishing = False
        self._write(stream, 0)
        place = len(self._places) % _TURNS
        self._places[stream] = place
        self._turns[place][stream] = 1

    def drop(self, stream: SlowProtocol) -> None:
        if (place := self._places.pop(stream, None)) is not None:
            del self._turns[place][stream]

    def finish(self) -> None:
        self._is_finishing = True

    def _turn(self) -> None:
        streams = self._turns[self._next]
        for stream, number in streams.items():
            self._write(stream, number)
            streams[stream] = number + 1
        if self._is_finishing:
            for stream in streams:
                stream.write(self._tail)
                del self._places[stream]
            streams.clear()
        loop, self._next = asyncio.get_running_loop(), (self._next + 1) % _TURNS
        self._due_s = max(self._due_s + PERIOD_S / _TURNS, loop.time() - PERIOD_S)
        loop.call_at(self._due_s, self._turn)

    def _write(self, stream: SlowProtocol, number: int) -> None:
        self._tally.chunks += 1
        stamp = b"@%06d %018d" % (number, time.monotonic_ns())
        stream.write(self._before + stamp + self._after)


class SlowProtocol(EngineProtocol):
    """A connection that may ask for a slow stream."""

    def __init__(self, routes: dict[bytes, bytes], pacer: Pacer, tally: Tally, slow: SlowStreams) -> None:
        super().__init__(routes, pacer, tally)
        self._slow = slow

    def eof_received(self) -> None:
        self._slow.drop(self)
        super().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._slow.drop(self)
        super().connection_lost(exc)

    def _answer(self, route: bytes, body: bytes) -> None:
        if MARK in body:
            self._tally.calls["paced"] += 1
            self.write(wire.stream_head())
            self._slow.add(self)
        elif route == FINISH:
            self._slow.finish()
            self.write(wire.response(b"{}"))
        else:
            super()._answer(route, body)


def request(*, key: str, host: str) -> bytes:
    """A call for a slow stream, ready to be written."""
    body = json.dumps(
        {
            "model": wire.MODEL,
            "messages": [{"role": "user", "content": f"{MARK.decode()} tides"}],
            "stream": True,
        },
        separators=(",", ":"),
    ).encode()
    return (
        f"POST {wire.CHAT_PATH} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body


def _rendered() -> tuple[bytes, bytes, bytes]:
    """What is before and after the stamp of a chunk, and a stream's end."""
    blank = STAMP + b"0" * (STAMP_BYTES - 1)
    chunk, tail = wire.stream_chunks(2)[1:]
    payload = chunk.partition(b"\r\n")[2].removesuffix(b"\r\n")
    event = json.loads(payload.removeprefix(b"data: "))
    event["choices"][0] |= {"delta": {"content": blank.decode()}, "finish_reason": None}
    framed = wire.frame(b"data: " + json.dumps(event, separators=(",", ":")).encode() + b"\n\n")
    before, _, after = framed.partition(blank)
    return before, after, tail


def raise_descriptor_limit() -> int:
    """As many open files as this process may have; how many that is."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


async def serve(say: Callable[[str], None]) -> None:
    """Serves until SIGTERM."""
    loop, stopped = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stopped.set)
    tally, routes = Tally(), answers()
    pacer, slow = Pacer(loop, tally), SlowStreams(tally)
    server = await loop.create_server(
        lambda: SlowProtocol(routes, pacer, tally, slow), "127.0.0.1", 0, backlog=4096
    )
    slow.start()
    say(f"port {server.sockets[0].getsockname()[1]}")
    gc.freeze()
    gc.disable()
    await stopped.wait()
    server.close()


if __name__ == "__main__":
    raise_descriptor_limit()
    uvloop.run(serve(lambda line: print(line, flush=True)))
