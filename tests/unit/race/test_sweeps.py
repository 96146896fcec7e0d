"""Windows and spans, against what counting one by one says."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from race.sweeps import MINUTE_US, mean_at_once, most_at_once, most_beyond, most_within

MOMENTS = st.lists(st.integers(0, 200), max_size=30)
SPANS = st.lists(st.tuples(st.integers(0, 60), st.integers(1, 30)).map(lambda at: (at[0], at[0] + at[1])))


@given(MOMENTS, st.integers(0, 100))
def test_the_fullest_window(moments: list[int], window_us: int) -> None:
    """Guards against a window that is missed between two others."""
    expected = max(
        (sum(1 for at in moments if begin <= at <= begin + window_us) for begin in moments), default=0
    )
    assert most_within(moments, window_us) == expected


@given(MOMENTS, st.integers(1, 3))
def test_what_is_beyond_the_rate_is_the_burst(moments: list[int], per_us: int) -> None:
    """Guards against a rate that is judged by some windows only: every pair of moments bounds one."""
    per_minute = per_us * MINUTE_US
    ordered = sorted(moments)
    expected = max(
        (
            last - first + 1 - (ordered[last] - ordered[first]) * per_us
            for first in range(len(ordered))
            for last in range(first, len(ordered))
        ),
        default=0,
    )
    assert round(most_beyond(moments, per_minute)) == expected


@given(SPANS)
def test_the_most_at_once(spans: list[tuple[int, int]]) -> None:
    """Guards against a ninth call that the sweep does not see, and one that only began when another ended."""
    expected = max((sum(1 for start, end in spans if start <= at < end) for at in range(100)), default=0)
    assert most_at_once(spans) == expected


@given(SPANS)
def test_the_mean_at_once(spans: list[tuple[int, int]]) -> None:
    """Guards against spans counted beyond the time that is looked at."""
    expected = sum(1 for start, end in spans for at in range(10, 50) if start <= at < end) / 40
    assert abs(mean_at_once(spans, 10, 50) - expected) < 1e-9


def test_no_time_has_no_mean() -> None:
    """Guards against a division by nothing."""
    assert mean_at_once([(0, 10)], 5, 5) == 0.0
