"""Pure: what a list of moments or of spans says of a rate and of what was in flight at once.

Rules: times are integer microseconds; a span is half-open, so that one that begins when another ends is not
beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

MINUTE_US = 60_000_000


def most_within(moments_us: Iterable[int], window_us: int) -> int:
    """The most moments that any window of that length holds, both its ends included."""
    ordered = sorted(moments_us)
    most = first = 0
    for at, moment in enumerate(ordered):
        while moment - ordered[first] > window_us:
            first += 1
        most = max(most, at - first + 1)
    return most


def most_beyond(moments_us: Iterable[int], per_minute: int) -> float:
    """By how much the moments of any window, however long, pass what refills in it."""
    ordered = sorted(moments_us)
    worst = lowest = 0.0
    for at, moment in enumerate(ordered):
        ahead = at - (moment - ordered[0]) * per_minute / MINUTE_US
        lowest = ahead if at == 0 else min(lowest, ahead)
        worst = max(worst, ahead - lowest + 1)
    return worst


def most_at_once(spans_us: Iterable[tuple[int, int]]) -> int:
    """The most spans that hold one moment."""
    changes = sorted(change for start, end in spans_us for change in ((start, 1), (end, -1)))
    running = most = 0
    for _, change in changes:
        running += change
        most = max(most, running)
    return most


def mean_at_once(spans_us: Sequence[tuple[int, int]], from_us: int, until_us: int) -> float:
    """How many spans hold a moment between the two, on average."""
    if until_us <= from_us:
        return 0.0
    shared = sum(max(0, min(end, until_us) - max(start, from_us)) for start, end in spans_us)
    return shared / (until_us - from_us)
