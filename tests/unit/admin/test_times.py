"""Times as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from admin.times import format_instant, month_of, parse_expiry, parse_instant
from ledger.errors import Refused

NOV_22 = 1_795_348_800_000_000  # 2026-11-22T12:00:00Z


@pytest.mark.parametrize(
    "text", ["2026-11-22T12:00:00Z", "2026-11-22T12:00", "2026-11-22T13:00:00+01:00", " 20261122T120000Z "]
)
def test_an_instant_is_read_whatever_its_offset_and_is_utc_without_one(text: str) -> None:
    assert parse_instant(text) == NOV_22


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("45m", 2700), ("12h", 43_200), ("30d", 2_592_000), ("2w", 1_209_600)]
)
def test_an_expiry_may_be_a_duration(text: str, seconds: int) -> None:
    assert parse_expiry(text, NOV_22) == NOV_22 + seconds * 1_000_000


@pytest.mark.parametrize(
    "text", ["", "0d", "-3d", "3", "3y", "1.5h", "d", "99999999d", "tomorrow", "2026-13-01"]
)
def test_what_is_neither_time_nor_duration_is_refused_with_examples(text: str) -> None:
    with pytest.raises(Refused, match="such as 30d"):
        parse_expiry(text, NOV_22)


@given(st.integers(min_value=-(10**15), max_value=10**17))
def test_formatting_and_reading_back_is_exact(us: int) -> None:
    """Guards against floats: a microsecond of 2026 does not fit a double's seconds."""
    assert parse_instant(format_instant(us)) == us


def test_the_month_of_a_time_is_utcs() -> None:
    assert month_of(parse_instant("2026-12-01T00:30:00+01:00")) == "2026-11"
