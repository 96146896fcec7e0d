"""The load against the real engine: what is sent whole is counted whole, what is short is noticed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from bench import wire
from bench.client import Arrived, BrokenStream, hold_streams, run_streams
from bench.closed_loop import Caller, latencies_us
from bench.engine_process import Engine
from bench.processes import choose_cores, cpu_s, memory_bytes, tree


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = Engine(choose_cores().engine)
    yield engine
    engine.stop()


def _request(want: wire.Wanted) -> bytes:
    return wire.request(want, host="engine", headers={"Authorization": "Bearer sk-mg-test"})


async def test_bursts_arrive_whole(engine: Engine) -> None:
    """Streams that run one after another on a connection must not borrow each other's events."""
    arrived = await run_streams(
        *engine.address,
        _request(wire.Wanted("burst", 20)),
        streams=30,
        connections=4,
        events_per_stream=wire.events_of(20, usage_event=True),
        limit_s=20,
    )
    assert arrived.chunks == 30 * wire.events_of(20, usage_event=True)
    assert engine.tally().passed.calls == 30


async def test_streams_begin_no_more_after_their_time(engine: Engine) -> None:
    """A phase of a slow subject must end, and with whole streams."""
    arrived = await run_streams(
        *engine.address,
        _request(wire.Wanted("burst", 20)),
        streams=1_000_000,
        connections=4,
        events_per_stream=wire.events_of(20, usage_event=True),
        limit_s=20,
        duration_s=0.1,
    )
    assert 0 < arrived.streams < 1_000_000
    assert arrived.chunks == arrived.streams * wire.events_of(20, usage_event=True)


async def _hold(engine: Engine, request: bytes, **changed: Any) -> Arrived:
    def nothing() -> None: ...

    settings: dict[str, Any] = {
        "streams": 10,
        "window_s": 0.2,
        "opens_within_s": 10,
        "ends_within_s": 10,
        "finish": engine.finish,
        "at_window_start": nothing,
        "at_window_end": nothing,
    }
    return await hold_streams(*engine.address, request, **(settings | changed))


async def test_paced_streams_have_a_steady_window_and_end_whole(engine: Engine) -> None:
    """Set-up and settling must not leak into a chunk's cost, and every event must arrive."""
    moments: list[str] = []
    before = engine.tally()
    arrived = await _hold(
        engine,
        _request(wire.Wanted("paced", 3000)),
        at_window_start=lambda: moments.append("start"),
        at_window_end=lambda: moments.append("end"),
    )
    after = engine.tally()
    assert moments == ["start", "end"]
    assert arrived.chunks < arrived.events
    assert arrived.cut == 0
    chunks = after.chunks - before.chunks
    assert arrived.events == chunks + 10 * wire.events_of(0, usage_event=True)
    # Each event but the first of a stream is a token.
    assert after.passed.completion_tokens == chunks - 10


async def test_streams_that_do_not_end_are_cut_and_counted(engine: Engine) -> None:
    """A subject that lags behind must not hold the run up, nor pass for one that delivered."""

    async def never() -> None: ...

    arrived = await _hold(engine, _request(wire.Wanted("paced", 3000)), finish=never, ends_within_s=0.1)
    assert arrived.cut == 10


async def test_the_engine_counts_of_an_aborted_stream_what_its_reader_can_have(engine: Engine) -> None:
    """Guards against a ledger that is called wrong, and against one that is wrong unseen, because the engine
    counts steps of connections whose other side has sent its last.
    """
    request = _request(wire.Wanted("paced", 3000))

    async def aborted(chunks: int) -> int:
        """Leaves when so many chunks have come; how many there were at the end."""
        reader, writer = await asyncio.open_connection(*engine.address)
        writer.write(request)
        read = b""
        while read.count(b"data: ") < chunks:
            read += await reader.read(65_536)
        writer.write_eof()
        read += await reader.read()
        writer.close()
        return read.count(b"data: ")

    async with asyncio.timeout(20):
        counts = await asyncio.gather(*(aborted(number % 9) for number in range(200)))
    tally = engine.settled()
    assert (tally.passed.calls, tally.unanswered) == (sum(map(bool, counts)), counts.count(0))
    assert counts.count(0) > 0
    assert tally.passed.completion_tokens == sum(count - 1 for count in counts if count)
    assert tally.chunks == sum(counts)


async def test_a_stream_that_ends_by_itself_fails_the_phase(engine: Engine) -> None:
    """A subject that ends streams early would have less to do."""
    with pytest.raises(BrokenStream, match="ended before it was told to"):
        await _hold(engine, _request(wire.Wanted("paced", 25)), window_s=5)


async def test_a_stream_short_of_an_event_fails_the_run(engine: Engine) -> None:
    """A subject that drops events would look fast."""
    with pytest.raises(BrokenStream, match="after 7 events, not 8"):
        await run_streams(
            *engine.address,
            _request(wire.Wanted("burst", 5)),
            streams=2,
            connections=1,
            events_per_stream=8,
            limit_s=20,
        )


async def test_an_error_answer_fails_the_run(engine: Engine) -> None:
    """A subject that refuses calls would look faster still."""
    request = _request(wire.Wanted("burst", 5)).replace(wire.CHAT_PATH.encode(), b"/v1/elsewhere")
    with pytest.raises(BrokenStream, match="refused"):
        await run_streams(*engine.address, request, streams=1, connections=1, events_per_stream=7, limit_s=20)


def test_latencies_are_taken_in_pairs(engine: Engine) -> None:
    """One caller ahead of the other would see another machine."""
    callers = [Caller(*engine.address, _request(wire.Wanted("unary", 24))) for _ in range(2)]
    direct, through = latencies_us(*callers, calls=20, unmeasured=5, limit_s=10)
    assert (len(direct), len(through), engine.tally().passed.calls) == (20, 20, 50)
    for caller in callers:
        caller.close()


def test_a_process_tree_is_measured(engine: Engine) -> None:
    """The engine is one process with memory of its own, whose CPU time has begun to count."""
    pids = tree(engine.pid)
    assert pids == (engine.pid,)
    assert memory_bytes(pids) > 1024**2
    assert cpu_s(pids) > 0
