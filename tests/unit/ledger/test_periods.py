"""Spans of time."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.errors import Refused
from ledger.periods import DAY_US, from_us, iso, month_span, to_us


@pytest.mark.parametrize(
    ("month", "days"), [("2026-11", 30), ("2026-12", 31), ("2024-02", 29), ("2026-02", 28), ("1970-01", 31)]
)
def test_a_month_is_its_days_in_utc(month: str, days: int) -> None:
    """Guards against a month that begins in another time zone, or that ends with the year."""
    begin, end = month_span(month)
    assert end - begin == days * DAY_US
    assert iso(begin) == f"{month}-01T00:00:00.000000Z"


@pytest.mark.parametrize(
    "month", ["2026-13", "2026-00", "2026", "2026-1", "26-01", "9999-12", "2026-11-01", "٢٠٢٦-١١"]
)
def test_what_is_no_month_is_refused(month: str) -> None:
    """Guards against an export of nothing for a mistyped month."""
    with pytest.raises(Refused):
        month_span(month)


@given(st.datetimes(timezones=st.just(UTC)))
def test_times_go_there_and_back(at: datetime) -> None:
    """Guards against floats, which lose microseconds."""
    if at.year >= 1970:
        assert from_us(to_us(at)) == at
