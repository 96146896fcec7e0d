"""Buckets: every instant of a span is in one part and in one bucket."""

from hypothesis import given
from hypothesis import strategies as st

from ledger.buckets import BucketWidth, Grain, bucket_spans, cut
from ledger.periods import DAY_US, HOUR_US

instants = st.one_of(
    st.integers(0, 5 * DAY_US),
    st.integers(0, 5 * 24).map(lambda hours: hours * HOUR_US),
    st.integers(0, 5).map(lambda days: days * DAY_US),
)


@given(instants, instants, st.sampled_from(BucketWidth))
def test_parts_cover_a_span_once_and_rows_little_of_it(
    from_us: int, until_us: int, width: BucketWidth
) -> None:
    """Guards against a call counted twice or not at all, and against a month read from rows."""
    parts = cut(from_us, until_us, width.grains)
    at_us = from_us
    for part in parts:
        assert part.from_us == at_us < part.until_us
        at_us = part.until_us
        if part.grain is not Grain.ROW:
            assert part.from_us % part.grain == 0 == part.until_us % part.grain
            assert part.begins[0] == part.from_us
            assert part.begins[-1] + part.grain == part.until_us
        assert part.grain <= width.us
    assert at_us == max(from_us, until_us) or not parts
    assert bool(parts) is (from_us < until_us)
    if width is not BucketWidth.MINUTE:
        rows_us = sum(part.until_us - part.from_us for part in parts if part.grain is Grain.ROW)
        assert rows_us < 2 * HOUR_US
    if width is BucketWidth.DAY:
        hours_us = sum(part.until_us - part.from_us for part in parts if part.grain is Grain.HOUR)
        assert hours_us < 2 * DAY_US


@given(instants, instants, st.sampled_from([BucketWidth.HOUR, BucketWidth.DAY]), st.integers(1, 200))
def test_buckets_follow_each_other_and_begin_on_their_boundaries(
    from_us: int, until_us: int, width: BucketWidth, most: int
) -> None:
    """Guards against a bucket that is left out between two pages."""
    spans = bucket_spans(from_us, until_us, width.us, most)
    assert len(spans) <= most
    at_us = from_us
    for begin_us, end_us in spans:
        assert begin_us == at_us < end_us <= until_us
        assert begin_us // width.us == (end_us - 1) // width.us
        at_us = end_us
    assert len(spans) == most or at_us == max(from_us, until_us) or not spans
    assert all(end_us % width.us == 0 for _, end_us in spans[:-1])
