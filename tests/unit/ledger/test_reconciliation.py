"""Engine and ledger over made-up histories: exact where it was quiet, and never wrong where it was not."""

import itertools

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger.reconciliation import lives as engine_lives
from ledger.reconciliation.arithmetic import (
    NO_EDGE,
    NO_TOKENS,
    UNTOLD_OF_CUT,
    UNTOLD_OF_DRAINED,
    Point,
    Sums,
    Tokens,
    Verdict,
    Window,
)
from ledger.reconciliation.lives import CALL_US, Life, Moment, Sample
from ledger.record import Ending
from ledger.usage import UsageSource
from tests.histories import BACKEND, SECOND_US, History, alike, edge_at, histories, sums_between
from tests.records import NOON_US, a_record

LATER_US = NOON_US + 86_400 * SECOND_US


def a_sample(at_s: float, prompt: int = 0, generation: int = 0, **fields: int) -> Sample:
    at_us = NOON_US + int(at_s * SECOND_US)
    values = {"asked_us": at_us, "engine_started_us": NOON_US, "counting_since_us": NOON_US, "in_flight": 0}
    return Sample(BACKEND, "tiny", at_us, tokens=Tokens(prompt, generation), **(values | fields))


def window_between(history: History, start: Moment, end: Moment, *, is_open: bool = False) -> Window:
    """What the ledger's rows make of it."""
    records = history.records
    sums = sums_between(records, start.at_us, end.at_us)
    return Window.over(
        [
            Point(start.at_us, start.tokens, edge=edge_at(records, start.asked_us, start.at_us)),
            Point(end.at_us, end.tokens, sums, edge_at(records, end.asked_us, end.at_us)),
        ],
        is_open=is_open,
    )


def window_of(history: History, life: Life, since_us: int) -> Window | None:
    """As far as a life is known; None where there is nothing between two moments."""
    start, (end, closed) = life.start(since_us), life.end(LATER_US)
    if start is None or start.at_us >= end.at_us:
        return None
    return window_between(history, start, end, is_open=not closed)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(history=histories())
def test_what_is_ours_is_always_explained(history: History) -> None:
    """Guards against an alarm for nothing: calls across an edge, clocks that differ, engines that restart,
    samples that were lost, choices that never began, streams that broke off.
    """
    for life in engine_lives.lives(history.samples):
        moments = [*([life.birth] if life.birth else []), *map(Moment.of, life.samples)]
        pairs = [*itertools.pairwise(moments), *((moments[0], moment) for moment in moments[1:])]
        for start, end in pairs:
            window = window_between(history, start, end)
            assert window.unexplained == NO_TOKENS, (window.low, window.engine, window.high)
            assert window.verdict() in (Verdict.EXACT, Verdict.EXPLAINED, Verdict.UNKNOWN_CALLS)
            assert min(window.beyond.prompt, window.beyond.generation) >= 0
            if not window.unknown_calls:
                assert window.beyond == NO_TOKENS


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(history=histories(quiet=True))
def test_quiet_moments_are_exact(history: History) -> None:
    """Guards against bounds so wide that nothing is ever found."""
    for life in engine_lives.lives(history.samples):
        window = window_of(history, life, NOON_US)
        if window is not None:
            assert window.low == window.engine == window.high
            assert window.verdict() is Verdict.EXACT
            assert window.capture_ratio == (1.0 if window.engine.total else None)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(history=histories(lives=1, foreign=True, quiet=True))
def test_foreign_traffic_is_found_to_the_token(history: History) -> None:
    """Guards against tokens that somebody takes past us, and that are explained away."""
    for life in engine_lives.lives(history.samples):
        window = window_of(history, life, NOON_US)
        if window is None:
            continue
        ours = sums_between(history.records, window.from_us, window.until_us).counted
        assert window.unexplained == window.engine - ours
        found = window.unexplained != NO_TOKENS
        assert (window.verdict() is Verdict.ENGINE_ABOVE) == found
        assert window.unexplained.total <= history.foreign.total


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(history=histories(lives=1), cuts=st.sets(st.integers(0, 9)))
def test_windows_that_meet_are_one(history: History, cuts: set[int]) -> None:
    """Guards against a month of hours whose edges add up, or fall out."""
    for life in engine_lives.lives(history.samples):
        whole = window_of(history, life, NOON_US)
        if whole is None:
            continue
        moments = [Moment.of(sample) for sample in life.samples]
        moments = [moment for moment in moments if whole.from_us < moment.at_us < whole.until_us]
        inner = [moment for place, moment in enumerate(moments) if place in cuts]
        start, (end, _) = life.start(NOON_US), life.end(LATER_US)
        assert start is not None
        points, last_us = [], start.at_us
        for moment in (start, *inner, end):
            sums = sums_between(history.records, last_us, moment.at_us)
            edge = edge_at(history.records, moment.asked_us, moment.at_us)
            points.append(Point(moment.at_us, moment.tokens, sums, edge))
            last_us = moment.at_us
        assert Window.over(points) == whole


def window(engine: Tokens, sums: Sums, *, is_open: bool = False) -> Window:
    return Window(0, 1, engine, sums, NO_EDGE, NO_EDGE, is_open)


@pytest.mark.parametrize(
    ("started_s", "ended_s", "low", "high"),
    [
        (20, 30, 5, 5),  # well within
        (5, 15, 0, 5),  # from before the start
        (10.5, 15, 0, 5),  # from after it, if our clocks agree
        (95, 105, 0, 5),  # beyond the end
        (100.5, 105, 0, 5),  # from after it, if our clocks agree
        (5, 105, 0, 5),  # all the time, and more
        (102, 105, 0, 0),
        (2, 8, 0, 0),
    ],
)
def test_a_call_across_an_edge_may_be_on_either_side(
    started_s: float, ended_s: float, low: int, high: int
) -> None:
    """Guards against each of the four ways in which an edge is forgotten."""
    started_us, ended_us = (NOON_US + int(s * SECOND_US) for s in (started_s, ended_s))
    record = a_record(started_us=started_us, ended_us=ended_us, prompt_tokens=4, completion_tokens=5)
    start, end = (Moment.of(a_sample(at_s)) for at_s in (10, 100))
    seen = window_between(History([], [record]), start, end)
    assert (seen.low.generation, seen.high.generation) == (low, high)


def test_a_prompt_counts_once_for_each_choice() -> None:
    """Guards against an alarm for every call with n > 1, and against a prompt billed n times."""
    sums = Sums.of([alike(a_record(prompt_tokens=13, completion_tokens=20, choices_per_prompt=3))])
    assert (sums.prompt_tokens, sums.counted) == (13, Tokens(39, 20))
    assert window(Tokens(39, 20), sums).verdict() is Verdict.EXACT
    assert window(Tokens(13, 20), sums).verdict() is Verdict.LEDGER_ABOVE


def test_the_ledger_above_the_engine_is_loud() -> None:
    """Guards against tokens that are billed twice, or that no engine made."""
    sums = Sums.of([alike(a_record(prompt_tokens=10, completion_tokens=5))] * 2)
    found = window(Tokens(20, 9), sums)
    assert (found.verdict(), found.unexplained) == (Verdict.LEDGER_ABOVE, Tokens(0, -1))
    assert found.verdict(tolerance=1) is Verdict.EXPLAINED
    lost = alike(a_record(usage_source=UsageSource.UNRESOLVED, prompt_tokens=0, completion_tokens=0))
    unknown = window(Tokens(20, 9), sums + Sums.of([lost]))
    assert unknown.verdict() is Verdict.LEDGER_ABOVE, "a call of unknown count explains no token too few"


def test_broken_streams_explain_what_was_measured_and_no_more() -> None:
    """Guards against a bound for streams that were left that hides everything else."""
    left = a_record(ending=Ending.CLIENT_LEFT, usage_source=UsageSource.RUNNING, completion_tokens=5)
    killed = a_record(ending=Ending.KILLED, usage_source=UsageSource.RECOVERED, completion_tokens=5)
    tls = a_record(
        ending=Ending.CLIENT_LEFT, usage_source=UsageSource.RUNNING, backend="https://e", choices_per_prompt=2
    )
    hung = a_record(ending=Ending.ENGINE_HUNG, usage_source=UsageSource.RUNNING)
    for record, most in (
        (left, UNTOLD_OF_DRAINED),
        (killed, UNTOLD_OF_CUT),
        (tls, 2 * UNTOLD_OF_CUT),
        (hung, UNTOLD_OF_CUT),
        (a_record(), 0),
    ):
        sums = Sums.of([alike(record)])
        told = sums.counted
        assert window(told + Tokens(0, most), sums).unexplained == NO_TOKENS
        over = window(told + Tokens(0, most + 1), sums)
        assert (over.verdict(), over.unexplained) == (Verdict.ENGINE_ABOVE, Tokens(0, 1))


def test_what_may_still_be_in_flight_is_not_judged_above() -> None:
    """Guards against an alarm that goes away by itself, and against one for a ledger above that does not."""
    sums = Sums.of([alike(a_record(prompt_tokens=10, completion_tokens=5))])
    assert window(Tokens(20, 9), sums, is_open=True).verdict() is Verdict.OPEN
    assert window(Tokens(10, 5), sums, is_open=True).verdict() is Verdict.EXACT
    assert window(Tokens(9, 5), sums, is_open=True).verdict() is Verdict.LEDGER_ABOVE


def test_a_restart_is_another_life() -> None:
    """Guards against a counter that begins anew and is taken for tokens given back."""
    first, second = engine_lives.lives(
        [
            a_sample(10, 5, 5),
            a_sample(0),
            a_sample(70, 3, 3, engine_started_us=NOON_US + 5, counting_since_us=NOON_US + 50 * SECOND_US),
        ]
    )
    assert (len(first.samples), first.is_over, second.is_over) == (2, True, False)
    assert second.is_witnessed and second.start(NOON_US) == Moment(
        NOON_US + 50 * SECOND_US, NOON_US + 50 * SECOND_US, NO_TOKENS
    )


def test_a_counter_that_fell_is_another_life_even_if_nothing_says_so() -> None:
    """Guards against an engine whose page tells no start (several API servers), and a skewed clock."""
    unknown = {"engine_started_us": 0, "counting_since_us": 0}
    _, second = engine_lives.lives([a_sample(10, 50, 50, **unknown), a_sample(70, 3, 3, **unknown)])
    assert second.start(0) == Moment(NOON_US + 10 * SECOND_US, NOON_US + 70 * SECOND_US, NO_TOKENS)
    early = {"engine_started_us": 7, "counting_since_us": NOON_US - SECOND_US}  # the engine's clock is behind
    _, second = engine_lives.lives([a_sample(10, 50, 50), a_sample(70, 3, 3, **early)])
    assert second.start(0) == Moment(NOON_US + 10 * SECOND_US, NOON_US + 70 * SECOND_US, NO_TOKENS)


def test_two_engines_at_one_address_are_not_added_up() -> None:
    """Guards against a load balancer's address: each sample is of another engine."""
    first, second = {"engine_started_us": 1}, {"engine_started_us": 2}
    seen = engine_lives.lives([a_sample(0, **first), a_sample(60, **second), a_sample(120, **first)])
    assert all(life.is_mixed for life in seen)
    assert not any(
        life.is_mixed for life in engine_lives.lives([a_sample(0, **first), a_sample(60, **second)])
    )


def test_a_look_back_begins_at_the_last_sample_before_it() -> None:
    """Guards against what was done to the engine before we stood in front of it."""
    (life,) = engine_lives.lives([a_sample(10, 100, 100), a_sample(70, 200, 200), a_sample(130, 300, 300)])
    for since_s, at_s in ((0, 10), (10, 10), (69, 10), (75, 70), (1000, 130)):
        start = life.start(NOON_US + since_s * SECOND_US)
        assert start is not None and start.at_us == NOON_US + at_s * SECOND_US
    (alone,) = engine_lives.lives([a_sample(10, 100, 100)])
    assert alone.start(0) == Moment(NOON_US, NOON_US, NO_TOKENS)


def test_a_busy_engine_is_compared_where_its_calls_have_ended() -> None:
    """Guards against the calls in flight, which the engine has counted and the ledger has not."""
    busy = {"in_flight": 4}
    (life,) = engine_lives.lives([a_sample(0), a_sample(60, 10, 10), a_sample(120, 20, 20, **busy)])
    now_us = NOON_US + 121 * SECOND_US
    assert life.end(now_us) == (Moment.of(life.samples[1]), True)
    assert life.end(NOON_US + 120 * SECOND_US + CALL_US) == (Moment.of(life.samples[2]), True)
    (always,) = engine_lives.lives([a_sample(1, 5, 5, **busy), a_sample(60, 10, 10, **busy)])
    assert always.end(NOON_US + 61 * SECOND_US) == (Moment.of(always.samples[1]), False)
    # An engine may forget to say that it has nothing in flight; one that counts nothing is as good.
    (still,) = engine_lives.lives([a_sample(1, 5, 5, **busy), a_sample(2, 5, 5, **busy)])
    assert still.end(NOON_US + 2 * SECOND_US) == (Moment.of(still.samples[1]), True)
