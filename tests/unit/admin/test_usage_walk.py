"""The walk through pages: where it begins and ends, and cursors that cannot be bent."""

from base64 import urlsafe_b64decode, urlsafe_b64encode

from hypothesis import given
from hypothesis import strategies as st

from admin.usage_walk import US_PER_SECOND, Walk, seal_of
from ledger.buckets import MINUTE_US, BucketWidth
from ledger.periods import DAY_US

NOW_US = 1_793_361_600_123_456
NOW_S = NOW_US // US_PER_SECOND
SEAL = seal_of(b"p" * 32, "org-a", "completions{}")


@given(
    st.integers(0, 40 * 86_400), st.none() | st.integers(-3 * 86_400, 86_400),
    st.sampled_from([BucketWidth.HOUR, BucketWidth.DAY]), st.integers(1, 31), st.integers(0, 3),
)  # fmt: skip
def test_a_walk_of_pages_is_one_span(
    back_s: int, end_after_s: int | None, width: BucketWidth, limit: int, passed_s: int
) -> None:
    """Guards against buckets lost or told twice while time passes between two pages."""
    start_s, end_s = NOW_S - back_s, None if end_after_s is None else NOW_S + end_after_s
    walk = Walk.begin(start_s, end_s, width, NOW_US)
    end_us = min(NOW_S, NOW_S if end_s is None else end_s) * US_PER_SECOND
    assert (walk.from_us, walk.end_us) == (start_s * US_PER_SECOND // MINUTE_US * MINUTE_US, end_us)
    at_us = first_us = walk.from_us
    for turn in range(2_000):
        spans = walk.spans(limit)
        if not spans:
            assert turn == 0 and first_us >= end_us
            break
        assert spans[0][0] == at_us
        at_us = spans[-1][1]
        read_until_us = walk.reads_until(spans)
        if at_us < end_us or not walk.is_open:
            assert read_until_us == at_us
        else:
            assert at_us <= read_until_us < at_us + width.us and read_until_us % width.us == 0
        if at_us == end_us:
            break
        later = Walk.begin(start_s, end_s, width, NOW_US + (turn + 1) * passed_s * US_PER_SECOND)
        resumed = later.resume(walk.cursor(at_us, SEAL), SEAL)
        assert resumed is not None and resumed.is_open is walk.is_open
        walk = resumed


def test_costs_are_of_whole_days() -> None:
    walk = Walk.begin_days(NOW_S - 86_400, None, NOW_US)
    assert (walk.from_us, walk.end_us) == (
        NOW_US // DAY_US * DAY_US - DAY_US,
        NOW_US // DAY_US * DAY_US + DAY_US,
    )


@given(st.integers(0, 8 * 24 - 1), st.integers(0, 2**64 - 1))
def test_a_bent_cursor_is_none(bit: int, next_s: int) -> None:
    """Guards against a cursor that leads to where its page did not end."""
    walk = Walk.begin(0, None, BucketWidth.DAY, NOW_US)
    cursor = walk.cursor(NOW_US - NOW_US % DAY_US, SEAL)
    assert walk.resume(cursor, SEAL) is not None
    given_ = bytearray(urlsafe_b64decode(cursor.removeprefix("page_")))
    given_[bit // 8] ^= 1 << bit % 8
    assert walk.resume("page_" + urlsafe_b64encode(given_).decode(), SEAL) is None
    for other in (seal_of(b"p" * 32, "org-b", "completions{}"), seal_of(b"q" * 32, "org-a", "completions{}"),
                  seal_of(b"p" * 32, "org-a", "costs{}")):  # fmt: skip
        assert walk.resume(cursor, other) is None
    for text in ("", "page_", cursor + "=", cursor[:-1], "page_" + "A" * 32, cursor.replace("page_", "")):
        assert walk.resume(text, SEAL) is None
