"""What people write for a limit: exact, or refused with what to write instead."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from admin.limit_values import end_user_of, parse_max, shown_amount, usual_window
from ledger.errors import Refused
from ledger.limits import EACH_USER, LIMIT_MAX, LimitKind, LimitWindow, check

DAY, MINUTE = LimitWindow.DAY, LimitWindow.MINUTE


@given(st.sampled_from(LimitKind), st.integers(0, LIMIT_MAX))
def test_a_limit_reads_as_it_is_shown(kind: LimitKind, size: int) -> None:
    """Guards against a budget that is another after it was listed and set again."""
    assert parse_max(kind, DAY, str(shown_amount(kind, size))) == size


@pytest.mark.parametrize("kind", LimitKind)
def test_the_usual_window_is_one_that_the_kind_has(kind: LimitKind) -> None:
    """Guards against a command that is refused for what it did not say."""
    check(kind, usual_window(kind), 1, None, None)


@pytest.mark.parametrize(
    ("kind", "window", "text", "said"),
    [
        (LimitKind.SPEND, DAY, "1.0000000000001", "more than twelve decimals"),
        (LimitKind.SPEND, DAY, "$1", "is not an amount"),
        (LimitKind.SPEND, DAY, "-1", "'-1' is negative"),
        (LimitKind.TOKENS, DAY, "1.5", "'1.5' is not a number of tokens"),
        (LimitKind.TOKENS, DAY, "10k", "'10k' is not a number of tokens"),
        (LimitKind.REQUESTS, MINUTE, "-5", "'-5' is negative"),
        (LimitKind.REQUESTS, MINUTE, "0", "at least 1: to stop every call, block the key"),
        (LimitKind.CONCURRENT, None, "eight", "'eight' is not a number of calls"),
        (LimitKind.TOKENS, DAY, "٣", "is not a number of tokens"),
        (LimitKind.TOKENS, DAY, str(LIMIT_MAX + 1), "above the highest limit"),
        (LimitKind.TOKENS, DAY, "1" * 5000, "above the highest limit"),
    ],
)
def test_what_is_no_limit_is_refused(
    kind: LimitKind, window: LimitWindow | None, text: str, said: str
) -> None:
    """Guards against a limit that was meant otherwise."""
    with pytest.raises(Refused) as caught:
        parse_max(kind, window, text)
    assert said in str(caught.value) and len(str(caught.value)) < 200


def test_zero_is_a_budget() -> None:
    """A budget of nothing lets nothing through that costs anything; that is a wish, not a slip."""
    assert parse_max(LimitKind.SPEND, DAY, "0") == 0
    assert parse_max(LimitKind.CONCURRENT, None, "000") == 0


def test_an_end_user_is_one_or_each() -> None:
    assert end_user_of(None, each_user=False) is None
    assert end_user_of(None, each_user=True) == EACH_USER
    assert end_user_of("ann", each_user=False) == "ann"
    for user, each_user in (("ann", True), ("", False), (EACH_USER, False)):
        with pytest.raises(Refused):
            end_user_of(user, each_user=each_user)
