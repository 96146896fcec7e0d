"""OpenAI's rate limit headers: durations that Go reads, and numbers that never promise too much."""

import re
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.ratelimit_headers import RateStanding, go_duration, rate_limit_headers

US = st.integers(min_value=0, max_value=400 * 86_400_000_000)
UNIT_US = {"h": 3_600_000_000, "m": 60_000_000, "s": 1_000_000, "ms": 1000}
PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(h|ms|m|s)")


def parsed_us(text: bytes) -> Fraction:
    """As Go's time.ParseDuration reads it: parts of a decimal number and a unit, added up."""
    parts = PART.findall(text.decode())
    assert parts and "".join(number + unit for number, unit in parts) == text.decode(), text
    return sum((Fraction(number) * UNIT_US[unit] for number, unit in parts), Fraction(0))


@pytest.mark.parametrize(
    ("us", "text"),
    [
        (0, b"0s"), (-5, b"0s"), (1, b"1ms"), (12_000, b"12ms"), (999_001, b"1s"), (1_000_000, b"1s"),
        (1_500_000, b"1.5s"), (26_604_000, b"26.604s"), (60_000_000, b"1m0s"), (360_000_000, b"6m0s"),
        (359_999_999, b"6m0s"), (3_600_000_000, b"1h0m0s"), (3_661_050_000, b"1h1m2s"),
        (59_050_000, b"59.05s"), (86_400_000_000, b"24h0m0s"),
    ],
)  # fmt: skip
def test_a_duration_is_written_as_go_writes_it(us: int, text: bytes) -> None:
    """Clients parse this with Go's rules; "1000ms" or "90s" is what Go never prints."""
    assert go_duration(us) == text


@given(US)
def test_a_duration_reads_back_never_early_and_hardly_late(us: int) -> None:
    """Guards against a client that comes back before the limit does, or much later."""
    late_us = 1000 if us < 60_000_000 else 1_000_000
    assert us <= parsed_us(go_duration(us)) < us + late_us


@given(US, US)
def test_a_longer_time_is_never_told_as_a_shorter_one(first: int, second: int) -> None:
    """Guards against a reset that jumps back while the clock goes on."""
    low, high = sorted((first, second))
    assert parsed_us(go_duration(low)) <= parsed_us(go_duration(high))


STANDING = st.none() | st.builds(
    RateStanding, st.integers(1, 9 * 10**18), st.integers(-(10**6), 9 * 10**18), US
)


@given(STANDING, STANDING)
def test_each_limited_kind_has_its_three_lines(
    requests: RateStanding | None, tokens: RateStanding | None
) -> None:
    """Guards against a header of a kind that has no limit, and against a negative remainder."""
    lines = dict(rate_limit_headers(requests, tokens))
    expected = {}
    for kind, standing in ((b"requests", requests), (b"tokens", tokens)):
        if standing is not None:
            expected[b"x-ratelimit-limit-" + kind] = str(standing.limit).encode()
            expected[b"x-ratelimit-remaining-" + kind] = str(max(0, standing.remaining)).encode()
            expected[b"x-ratelimit-reset-" + kind] = go_duration(standing.reset_us)
    assert lines == expected
