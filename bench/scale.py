"""Pure: how big a run is: how long each phase loads, how many streams are held, how often rounds repeat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

PHASES = ("paced", "steady", "unary", "half", "burst", "latency")
"""In the order they run on each start. `paced` is first: heap freed by another would hide its own memory;
`half` comes after `unary`, which tells what the whole is.
"""


@dataclass(frozen=True, slots=True)
class Scale:
    """Seconds, streams and calls of each phase; connections are for keep-alive closed loops."""

    rounds: int
    unary_s: float = 3.0
    unary_connections: int = 32
    steady_pause_ms: int = 32
    """Before each call of a connection in `steady`, on average: 32 of them make some 1,000 calls a second."""
    half_s: float = 2.0
    half_connections: int = 64
    burst_s: float = 2.5
    burst_connections: int = 16
    burst_chunks: int = 100
    paced_streams: tuple[int, ...] = (128, 512, 2000)
    paced_window_s: float = 3.0
    paced_opens_within_s: float = 12.0
    paced_ends_within_s: float = 6.0
    latency_calls: int = 2000
    latency_s: float = 4.0
    """A subject that needs longer for its calls makes fewer."""
    limit_s: float = 30.0
    """No burst phase lasts longer than this; a subject that needs more is broken, and said to be."""


FULL = Scale(rounds=2)
QUICK = Scale(
    rounds=1,
    unary_s=2.0,
    half_s=1.0,
    burst_s=1.0,
    paced_streams=(128, 512),
    paced_window_s=1.5,
    paced_opens_within_s=10.0,
    latency_calls=500,
    latency_s=2.0,
)


def phase_steps(phases: Sequence[str], scale: Scale) -> list[str]:
    """What is run, and can fail, one by one: a phase, or one number of paced streams (`paced_512`)."""
    steps = []
    for phase in phases:
        steps += [f"paced_{streams}" for streams in scale.paced_streams] if phase == "paced" else [phase]
    return steps
