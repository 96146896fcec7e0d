"""Pure: how big a run is: how long each phase loads, how many streams are held, how often rounds repeat."""

from __future__ import annotations

from dataclasses import dataclass

PHASES = ("paced", "unary", "steady", "burst", "latency")
"""In the order they run on each start. `paced` is first: heap freed by another would hide its own memory."""


@dataclass(frozen=True, slots=True)
class Scale:
    """Seconds, streams and calls of each phase; connections are for keep-alive closed loops."""

    rounds: int
    unary_s: float = 4.0
    unary_connections: int = 32
    steady_pause_ms: int = 8
    """Between two calls of a connection in `steady`: with 32 connections, some 4,000 calls a second."""
    burst_streams: int = 2000
    burst_connections: int = 16
    burst_chunks: int = 100
    paced_streams: int = 512
    paced_window_s: float = 5.0
    paced_opening_s: float = 2.5
    latency_calls: int = 2000
    limit_s: float = 60.0
    """No phase lasts longer than this; a subject that needs more is broken, and said to be."""


FULL = Scale(rounds=3)
QUICK = Scale(
    rounds=1,
    unary_s=2.0,
    burst_streams=1000,
    paced_streams=128,
    paced_window_s=2.5,
    paced_opening_s=1.0,
    latency_calls=500,
)
