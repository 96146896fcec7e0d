"""What counts cost: the amount of a sum is the sum of the amounts, and of its kinds."""

from hypothesis import given
from hypothesis import strategies as st

from ledger.cost_lines import CostKind, Counts, amount_picos, cost_lines
from ledger.money import PRICE_MICROS_MAX, Rates, rate_counts

KINDS = len(CostKind)
CACHED = list(CostKind).index(CostKind.CACHED_INPUT)
prices = st.integers(0, PRICE_MICROS_MAX)
tokens = st.integers(0, 2**40)


@given(
    st.builds(Rates, prices, prices, prices, prices),
    st.lists(st.tuples(tokens, tokens, tokens), min_size=1, max_size=20),
)
def test_sums_cost_what_their_calls_do(rates: Rates, calls: list[tuple[int, int, int]]) -> None:
    """Guards against a pico between the bill of a day and the bills of its calls."""
    calls = [(prompt + cached, cached, completion) for prompt, cached, completion in calls]
    counts = Counts(len(calls), *(sum(column) for column in zip(*calls, strict=True)))
    expected = sum(rate_counts(*call, rates) for call in calls)
    assert amount_picos(counts, rates) == expected
    lines = cost_lines(counts, rates)
    assert sum(lines[KINDS:]) == expected
    assert lines[CACHED] == counts.cached_prompt_tokens
    added = [0] * 2 * KINDS
    for prompt, cached, completion in calls:
        lines_of_call = cost_lines(Counts(1, prompt, cached, completion), rates)
        added = [sum(each) for each in zip(added, lines_of_call, strict=True)]
    assert tuple(added) == lines


def test_requests_are_a_line_where_they_have_a_price() -> None:
    """Guards against calls told as bought where tokens alone were, and against a price at another kind."""
    counts = Counts(3, 10, 4, 5)
    assert cost_lines(counts, Rates(7, 8, 9)) == (6, 4, 5, 0, 42, 32, 45, 0)
    assert cost_lines(counts, Rates(7, 8, 9, 2)) == (6, 4, 5, 3, 42, 32, 45, 3 * 2 * 10**6)
    assert list(CostKind) == [CostKind.INPUT, CostKind.CACHED_INPUT, CostKind.OUTPUT, CostKind.REQUESTS]
