"""Rates: never more than N + burst in any 60 seconds, and never much less than N where somebody wants it."""

from collections import deque

from hypothesis import example, given, settings
from hypothesis import strategies as st

from ledger.gcra import MINUTE_US, Rate
from ledger.limits import default_burst

RATES = st.integers(1, 100_000).flatmap(lambda n: st.builds(Rate, st.just(n), st.integers(1, n)))
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["grant", "use", "return", "rest"]),
        st.integers(0, 3),  # whose turn
        st.floats(0, 1),  # of what there is
        st.floats(0, 1),  # of the life, or the minute, that passes before
    ),
    max_size=120,
)


def most_in_a_minute(used: list[tuple[int, int]]) -> int:
    """The most units in any 60 seconds, both ends among them; `used` is (time, units), by time."""
    waiting: deque[tuple[int, int]] = deque()
    total = most = 0
    for at_us, units in used:
        waiting.append((at_us, units))
        total += units
        while waiting[0][0] < at_us - MINUTE_US:
            total -= waiting.popleft()[1]
        most = max(most, total)
    return most


@settings(max_examples=80, deadline=None)
@given(rate=RATES, steps=STEPS)
@example(rate=Rate(600, 100), steps=[("grant", 0, 1.0, 1.0), ("use", 0, 1.0, 1.0)] * 60)
@example(rate=Rate(60, 60), steps=[("grant", 0, 1.0, 0.0), ("use", 0, 1.0, 1.0)] * 60)
@example(rate=Rate(1, 1), steps=[("grant", 0, 1.0, 0.0), ("use", 0, 1.0, 1.0), ("rest", 0, 1.0, 1.0)] * 30)
def test_never_more_than_the_rate_and_its_burst(
    rate: Rate, steps: list[tuple[str, int, float, float]]
) -> None:
    """Guards against a minute in which more passes: whoever holds blocks, however late they are used within
    their life, and whatever comes back.
    """
    now_us, tat_us = 10**15, 0
    blocks: list[list[tuple[int, int]]] = [[], [], [], []]  # for each holder: (granted at, units)
    used: list[tuple[int, int]] = []
    for step, holder, share, wait in steps:
        now_us += int(wait * (MINUTE_US if step == "rest" else rate.life_us))
        if step == "grant":
            units, tat_us = rate.granted(tat_us, now_us, 1, max(1, int(rate.capacity * share)))
            assert 0 <= units <= rate.capacity
            blocks[holder].append((now_us, units))
        elif blocks[holder] and step in ("use", "return"):
            granted_us, units = blocks[holder].pop(0)
            some = round(units * share) if granted_us >= now_us - rate.life_us else 0
            if step == "use":
                used.append((now_us, some))
            # What is left, or has outlived its life, goes back.
            tat_us = rate.given_back(tat_us, units - (some if step == "use" else 0))
    assert most_in_a_minute(used) <= rate.per_minute + rate.burst


@given(rate=RATES, hold=st.floats(0, 1), steps=st.integers(1, 200))
@example(rate=Rate(6000, 1000), hold=1.0, steps=100)
@example(rate=Rate(60, 60), hold=1.0, steps=60)
def test_a_full_bucket_held_to_the_end_of_its_life_passes_nothing_more(
    rate: Rate, hold: float, steps: int
) -> None:
    """Guards against the worst minute there is: it begins with a whole bucket that was granted as long before
    as it may be, and ends with all that refilled since.
    """
    begin_us = 10**15
    units, tat_us = rate.granted(0, begin_us, 1, rate.capacity)
    begin_us += int(rate.life_us * hold)
    for step in range(steps + 1):
        more, tat_us = rate.granted(tat_us, begin_us + MINUTE_US * step // steps, 1, rate.capacity)
        units += more
    assert units <= rate.per_minute + rate.burst


def saturated(rate: Rate, block: int, late_us: int) -> float:
    """What share of N a minute somebody gets who takes all there is as soon as a block is there, and asks
    `late_us` late every time.
    """
    begin_us = now_us = 10**15
    tat_us, total = 0, 0
    for _ in range(1000):
        units, tat_us = rate.granted(tat_us, now_us, 1, block)
        total += units
        if not units:
            now_us = rate.free_at(tat_us, now_us, block) + late_us
    return total * MINUTE_US / (rate.per_minute * max(1, now_us - begin_us))


@settings(max_examples=80, deadline=None)
@given(rate=RATES, share=st.floats(0, 1))
@example(rate=Rate(1, 1), share=1.0)
@example(rate=Rate(7, 7), share=0.0)
def test_a_saturating_consumer_gets_nearly_all(rate: Rate, share: float) -> None:
    """Guards against a rate that refuses what it could admit: at least 97% of N, whatever the burst."""
    assert saturated(rate, max(1, int(rate.capacity * share)), 0) >= 0.97


@settings(max_examples=80, deadline=None)
@given(per_minute=st.integers(60, 10**7), share=st.floats(0.02, 0.5), late_us=st.integers(0, 50_000))
def test_a_slow_way_to_the_ledger_costs_nothing_with_the_usual_burst(
    per_minute: int, share: float, late_us: int
) -> None:
    """Guards against a rate that is only reached by who asks the ledger at the very microsecond."""
    rate = Rate(per_minute, default_burst(per_minute))
    assert saturated(rate, max(1, int(rate.capacity * share)), late_us) >= 0.97


@given(rate=RATES, ahead_us=st.integers(-(10**9), 10**9), units=st.integers(1, 10**6))
def test_it_is_free_when_it_said_and_not_before(rate: Rate, ahead_us: int, units: int) -> None:
    """Guards against a retry-after that is not true."""
    now_us = 10**15
    at_us = rate.free_at(now_us + ahead_us, now_us, units)
    wanted = min(units, rate.capacity)
    assert rate.free(now_us + ahead_us, at_us) >= wanted
    if at_us > now_us + 1:
        assert rate.free(now_us + ahead_us, at_us - MINUTE_US // rate.per_minute - 2) < wanted


@given(rate=RATES, units=st.integers(0, 10**6), ahead_us=st.integers(-(10**9), 10**9))
def test_what_comes_back_never_makes_more(rate: Rate, units: int, ahead_us: int) -> None:
    """Guards against units made by taking and giving back, through rounding."""
    now_us = 10**15
    tat_us = now_us + ahead_us
    granted, after_us = rate.granted(tat_us, now_us, 1, max(1, units))
    assert rate.given_back(after_us, granted) >= min(tat_us, after_us)
    assert rate.free(rate.given_back(after_us, granted), now_us) <= rate.free(tat_us, now_us)
    debt_us = rate.charged(tat_us, now_us, units)
    assert debt_us - max(tat_us, now_us) >= rate.cost_us(units)
