"""What counts cost: the amount of a sum is the sum of the amounts, and of its kinds."""

from hypothesis import given
from hypothesis import strategies as st

from ledger.cost_lines import CostKind, Counts, amount_picos, cost_lines
from ledger.money import PRICE_MICROS_MAX, Rates, rate_counts

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
    assert sum(picos for _, _, picos in lines) == expected
    assert all(quantity for _, quantity, _ in lines)
    assert len({kind for kind, _, _ in lines}) == len(lines)


def test_requests_are_a_line_where_they_have_a_price() -> None:
    counts = Counts(3, 10, 4, 5)
    assert [kind for kind, _, _ in cost_lines(counts, Rates(1, 1, 1))] == [
        CostKind.INPUT, CostKind.CACHED_INPUT, CostKind.OUTPUT,
    ]  # fmt: skip
    assert cost_lines(counts, Rates(1, 1, 1, 2))[-1] == (CostKind.REQUESTS, 3, 3 * 2 * 10**6)
