"""The benchmark's engine: answers with pre-rendered bytes in vLLM's shape, cheaply enough never to be the
bottleneck.

Rules: one process, one uvloop, no decoding of bodies. Paced streams are driven by one shared timer, as an
engine's step emits a token to every running request at once; a step that comes late is counted, not made up
for. `/bench/finish` ends every paced stream whole with its next step. A stream whose other side says that it
will send no more is aborted there and then, as vLLM does it: all that is counted of it was written before,
and is there for who reads on to the end. `/bench/stats` says how many calls, chunks and tokens left, and what
CPU time that took, so that a run can show where the limit lay. Must not know who asks.

    python -m bench.engine --port 0       prints `port N`, then serves until SIGTERM, then prints its CPU time
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import signal
import time
from collections.abc import Callable
from functools import cache
from typing import cast

import uvloop

from bench import wire

STEP_S = 0.020
_HEAD_BYTES_MAX = 64 * 1024
"""More head than this without an end is no request of ours: uvicorn's own limit."""

_stream_chunks = cache(wire.stream_chunks)
_stream_end = cache(wire.stream_end)


class Tally:
    """What left the engine since its start. `unanswered` calls are streams that were aborted before their
    first chunk.
    """

    def __init__(self) -> None:
        self.calls = {"unary": 0, "burst": 0, "paced": 0}
        self.chunks = 0
        self.completion_tokens = 0
        self.unanswered = 0
        self.steps = 0
        self.late_steps = 0

    def as_json(self) -> bytes:
        fields = vars(self) | {"cpu_s": time.process_time(), "wall_s": time.monotonic()}
        return json.dumps(fields).encode()


class Pacer:
    """Steps every open paced stream once every STEP_S."""

    def __init__(self, loop: asyncio.AbstractEventLoop, tally: Tally) -> None:
        self._loop = loop
        self._tally = tally
        self._streams: dict[EngineProtocol, tuple[int, list[bytes]]] = {}  # its first step, its chunks
        self._due_s = 0.0
        self._step_number = 0
        self._is_stepping = False
        self._is_finishing = False

    def add(self, stream: EngineProtocol, chunks: list[bytes]) -> None:
        if not self._is_stepping:
            self._is_stepping = True
            self._due_s = self._loop.time() + STEP_S
            self._loop.call_at(self._due_s, self._step)
        self._streams[stream] = (self._step_number, chunks)

    def drop(self, stream: EngineProtocol) -> None:
        if begun := self._streams.pop(stream, None):
            written = self._step_number - begun[0]
            if written:
                self._tally.completion_tokens += written - 1  # the first chunk has none
            else:
                self._tally.unanswered += 1

    def finish(self) -> None:
        """The next step is the last of every stream that is open then."""
        self._is_finishing = bool(self._streams)

    def _step(self) -> None:
        number, tally = self._step_number, self._tally
        tally.steps += 1
        tally.chunks += len(self._streams)
        if self._is_finishing:
            for stream, (first, _) in self._streams.items():
                stream.write(_stream_end(number - first))
                tally.completion_tokens += number - first
            self._streams.clear()
            self._is_finishing = False
        ended = []
        for stream, (first, chunks) in self._streams.items():
            index = number - first
            stream.write(chunks[index])
            if index == len(chunks) - 2:  # the usage event, [DONE] and the end leave with the finish
                stream.write(chunks[-1])
                tally.completion_tokens += index
                ended.append(stream)
        for stream in ended:
            del self._streams[stream]
        self._step_number += 1
        self._is_stepping = bool(self._streams)
        if self._is_stepping:
            self._due_s += STEP_S
            now_s = self._loop.time()
            if now_s > self._due_s:
                tally.late_steps += 1
                self._due_s = now_s
            self._loop.call_at(self._due_s, self._step)


class EngineProtocol(asyncio.Protocol):
    """One keep-alive connection: requests with a Content-Length in, pre-rendered answers out."""

    write: Callable[[bytes], None]

    def __init__(self, answers: dict[bytes, bytes], pacer: Pacer, tally: Tally) -> None:
        self._answers = answers
        self._pacer = pacer
        self._tally = tally
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.write = self._transport.write

    def eof_received(self) -> None:
        self._pacer.drop(self)  # now: a step may come before the connection is lost

    def connection_lost(self, exc: Exception | None) -> None:
        self._pacer.drop(self)

    def data_received(self, data: bytes) -> None:
        received = self._received + data if self._received else data
        while received:
            head_end = received.find(b"\r\n\r\n")
            if head_end < 0:
                if len(received) > _HEAD_BYTES_MAX:
                    self._transport.close()
                break
            body_length = _content_length(received[:head_end])
            end = head_end + 4 + body_length
            if len(received) < end:
                break
            self._answer(received[: received.find(b" ", 5)], received[head_end + 4 : end])
            received = received[end:]
        self._received = received

    def _answer(self, route: bytes, body: bytes) -> None:
        if route != b"POST /v1/chat/completions":
            if route == b"GET /bench/stats":
                self.write(wire.response(self._tally.as_json()))
            elif route == b"POST /bench/finish":
                self._pacer.finish()
                self.write(wire.response(b"{}"))
            else:
                self.write(self._answers.get(route) or self._answers[b"*"])
            return
        want = wire.wanted(body) or wire.Wanted("unary", wire.UNARY_TOKENS)
        self._tally.calls[want.kind] += 1
        if want.kind == "unary":
            self._tally.completion_tokens += wire.UNARY_TOKENS
            self.write(self._answers[b"unary"])
            return
        chunks = _stream_chunks(want.chunks)
        self.write(self._answers[b"stream"])
        if want.kind == "paced":
            self._pacer.add(self, chunks)
        else:
            self._tally.completion_tokens += want.chunks - 1
            self._tally.chunks += want.chunks
            for chunk in chunks:
                self.write(chunk)


def _content_length(head: bytes) -> int:
    """The body's length; 0 without the field: no client of the benchmark sends a chunked body."""
    start = head.find(b"ontent-length:")
    if start < 0:
        start = head.lower().find(b"ontent-length:")
        if start < 0:
            return 0
    stop = head.find(b"\r", start)
    return int(head[start + 14 : stop if stop >= 0 else None])


def answers() -> dict[bytes, bytes]:
    """What the engine says to each route: enough of vLLM for a proxy's discovery, health probe and metrics
    reader.
    """
    model = {
        "id": wire.MODEL,
        "object": "model",
        "created": 1795366749,
        "owned_by": "vllm",
        "root": wire.MODEL,
    }
    models = {"object": "list", "data": [model | {"parent": None, "max_model_len": 32768}]}
    tokens = {"count": wire.PROMPT_TOKENS, "max_model_len": 32768, "tokens": [], "token_strs": None}
    metrics = b"".join(
        b'# TYPE vllm:%b gauge\nvllm:%b{engine="0",model_name="bench"} 0.0\n' % (name, name)
        for name in (b"num_requests_running", b"num_requests_waiting", b"kv_cache_usage_perc")
    )
    return {
        b"GET /v1/models": wire.response(json.dumps(models).encode()),
        b"GET /health": wire.response(b""),
        b"GET /ping": wire.response(b""),
        b"GET /version": wire.response(b'{"version":"0.32.0"}'),
        b"GET /load": wire.response(b'{"server_load":0}'),
        b"GET /metrics": wire.response(metrics, content_type="text/plain; version=0.0.4; charset=utf-8"),
        b"POST /tokenize": wire.response(json.dumps(tokens).encode()),
        b"unary": wire.unary_response(),
        b"stream": wire.stream_head(),
        b"*": wire.response(b'{"detail":"Not Found"}', status="404 Not Found"),
    }


async def serve(port: int) -> None:
    """Serves until SIGTERM or SIGINT."""
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    tally, routes = Tally(), answers()
    pacer = Pacer(loop, tally)
    server = await loop.create_server(
        lambda: EngineProtocol(routes, pacer, tally), "127.0.0.1", port, backlog=4096
    )
    print(f"port {server.sockets[0].getsockname()[1]}", flush=True)
    gc.freeze()
    await stopped.wait()
    server.close()
    print(f"engine: {time.process_time():.2f} s of CPU, {tally.calls}, {tally.chunks} chunks", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.engine", description="The benchmark's engine, alone."
    )
    parser.add_argument("--port", type=int, default=0)
    uvloop.run(serve(parser.parse_args().port))


if __name__ == "__main__":
    main()
