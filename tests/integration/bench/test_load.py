"""The load against the real engine: what is sent whole is counted whole, what is short is noticed."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from bench import wire
from bench.client import BrokenStream, hold_streams, run_streams
from bench.closed_loop import Caller, latencies_us
from bench.processes import choose_cores, cpu_s, memory_bytes, tree
from bench.rounds import Engine


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = Engine(choose_cores().engine)
    yield engine
    engine.stop()


def _address(engine: Engine) -> tuple[str, int]:
    parts = urlsplit(engine.url)
    assert parts.hostname and parts.port
    return parts.hostname, parts.port


def _request(want: wire.Wanted) -> bytes:
    return wire.request(want, key="sk-mg-test", host="engine")


async def test_bursts_arrive_whole(engine: Engine) -> None:
    """Streams that run one after another on a connection must not borrow each other's events."""
    arrived = await run_streams(
        *_address(engine),
        _request(wire.Wanted("burst", 20)),
        streams=30,
        connections=4,
        events_per_stream=wire.events_of(20, usage_event=True),
        limit_s=20,
    )
    assert arrived.chunks == 30 * wire.events_of(20, usage_event=True)
    assert engine.calls() == 30


async def test_paced_streams_have_a_steady_window(engine: Engine) -> None:
    """Set-up and settling must not leak into the cost of a chunk."""
    moments: list[str] = []
    arrived = await hold_streams(
        *_address(engine),
        _request(wire.Wanted("paced", 50)),
        streams=10,
        events_per_stream=wire.events_of(50, usage_event=True),
        window_s=0.2,
        limit_s=20,
        at_window_start=lambda: moments.append("start"),
        at_window_end=lambda: moments.append("end"),
    )
    assert moments == ["start", "end"]
    assert 0 < arrived.chunks < 10 * 50


async def test_a_stream_short_of_an_event_fails_the_run(engine: Engine) -> None:
    """A subject that drops events would look fast."""
    with pytest.raises(BrokenStream, match="after 7 events, not 8"):
        await run_streams(
            *_address(engine),
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
        await run_streams(
            *_address(engine), request, streams=1, connections=1, events_per_stream=7, limit_s=20
        )


def test_latencies_are_taken_in_pairs(engine: Engine) -> None:
    """One caller ahead of the other would see another machine."""
    callers = [Caller(*_address(engine), _request(wire.Wanted("unary", 24))) for _ in range(2)]
    direct, through = latencies_us(*callers, calls=20, unmeasured=5)
    assert (len(direct), len(through), engine.calls()) == (20, 20, 50)
    for caller in callers:
        caller.close()


def test_a_process_tree_is_measured(engine: Engine) -> None:
    """The engine is one process with memory of its own, whose CPU time has begun to count."""
    pids = tree(engine.pid)
    assert pids == (engine.pid,)
    assert memory_bytes(pids) > 1024**2
    assert cpu_s(pids) > 0
