"""What is said of the limit on open files."""

from proxy.capacity import CALLS_MAX, FILES_ENOUGH, shortage


def test_a_limit_that_is_too_low_is_told_with_what_it_is_enough_for() -> None:
    """A call takes two files: a bound told in files alone would look twice as good as it is."""
    said = shortage(20_512)
    assert said is not None
    assert "10,000 calls" in said
    assert f"{FILES_ENOUGH:,}" in said


def test_nothing_is_said_where_more_files_are_of_no_use() -> None:
    """The flight recorder has places for so many calls, and no more."""
    assert shortage(FILES_ENOUGH) is None
    assert shortage(FILES_ENOUGH - 2) is not None
    assert FILES_ENOUGH > 2 * CALLS_MAX


def test_a_limit_below_what_is_needed_for_no_call_at_all_is_no_calls() -> None:
    """Guards against a negative number of calls."""
    assert "0 calls" in str(shortage(64))
