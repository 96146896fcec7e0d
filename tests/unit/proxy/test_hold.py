"""Running holds: streams on one budget, in virtual time, against engines that run ahead of what was read."""

import heapq
import itertools
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from ledger.balance import Balance
from ledger.lease_terms import BalanceKey, Grant
from ledger.limits import Limit, LimitKind, LimitWindow
from ledger.money import Rates
from ledger.principal import Principal
from ledger.usage import Usage
from proxy.allowances import TICK_US, Account
from proxy.hold import BLOCK_TOKENS, MARGIN_TOKENS, NEVER, Hold
from proxy.plans import Need, Plan, Term

OUTPUT = 10_000_000  # micros per million tokens: 1e7 picos a token
BEGIN_US = 1_700_000_000_000_000


class World:
    """Virtual time, one ledger, and a desk for each worker that takes `latency_us` to hear from it."""

    def __init__(self, max_tokens: int, latency_us: int) -> None:
        self.now_us = BEGIN_US
        self.balance = Balance(max_tokens * OUTPUT)
        self.latency_us = latency_us
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._numbers = itertools.count()

    def later(self, after_us: int, work: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self.now_us + after_us, next(self._numbers), work))

    def run(self) -> None:
        while self._events:
            self.now_us, _, work = heapq.heappop(self._events)
            work()


class Desk:
    """What a Hold knows of the LeaseDesk."""

    holder_id = "holder_1"
    is_away = False
    late_s = 0.0
    lost_us = 1 << 62

    def __init__(self, world: World) -> None:
        self.world = world
        limit = Limit(
            "limit_1", "org-1", None, None, None, None, LimitKind.SPEND, LimitWindow.LIFETIME,
            world.balance.max_value,
        )  # fmt: skip
        self.account = Account(limit, BalanceKey("limit_1", "", 0), 2**62)
        self.streams = 0

    def now_us(self) -> int:
        return self.world.now_us

    def lose(self) -> None:
        raise AssertionError("nothing is lost here")

    def ask(self, account: Account, least: int, most: int) -> None:
        self.world.later(self.world.latency_us, lambda: self.exchange(least, most))

    def exchange(self, least: int, most: int) -> None:
        world, account = self.world, self.account
        back, account.back = account.back, 0
        world.balance = world.balance.given_back(back)
        granted = world.balance.grant(least, most)
        world.balance = world.balance.granted(granted)
        account.granted(Grant(granted, world.balance), least, world.now_us, world.now_us, 0)

    def tick(self) -> None:
        wanted = self.account.tick(self.world.now_us)
        if wanted or self.account.back:
            self.exchange(0, wanted)
        if self.streams:
            self.world.later(TICK_US, self.tick)


class Stream:
    """A stream whose engine makes a token every `pace_us` and goes on for `stop_us` after it is told to end.

    The tokens are read in gulps every `read_us`.
    """

    def __init__(self, desk: Desk, *, pace_us: int, read_us: int, stop_us: int, most: int) -> None:
        self.desk, self.world = desk, desk.world
        self.pace_us, self.read_us, self.stop_us, self.most = pace_us, read_us, stop_us, most
        principal = Principal("org-1", "proj-1", "key-1", *["active"] * 3, None)  # type: ignore[arg-type]
        term = Term(desk.account, Rates(0, 0, OUTPUT))
        self.plan = Plan(principal, [term], [], 2**62)
        self.began_us = 0
        self.stopped_us: int | None = None
        self.used = 0
        self.hold: Hold | None = None

    def begin(self) -> bool:
        first = min(self.most, BLOCK_TOKENS + MARGIN_TOKENS)
        (term,) = self.plan.hard
        account = self.desk.account
        for is_edge in (False, True):
            tokens = first
            if is_edge:  # what is left, and the engine ends it there
                tokens = self.most = min(first, account.remaining(self.world.now_us) // OUTPUT)
                if tokens < min(first, 2 * MARGIN_TOKENS):
                    return False
            amount = term.first_amount(Need(0, tokens))
            if not account.can_take(amount, self.world.now_us):
                self.desk.exchange(amount - account.available, amount)
            if account.can_take(amount, self.world.now_us):
                account.take(amount, self.world.now_us)
                self.hold = Hold(self.desk, self.plan, self.plan.hard, [amount])  # type: ignore[arg-type]
                self.hold.follow(0, tokens, self.most, 1)
                self.began_us = self.world.now_us
                self.desk.streams += 1
                self.world.later(self.read_us, self.read)
                return True
        return False

    def made(self) -> int:
        """What the engine has made by now."""
        until_us = self.world.now_us
        if self.stopped_us is not None:
            until_us = min(until_us, self.stopped_us + self.stop_us)
        return min(self.most, (until_us - self.began_us) // self.pace_us)

    def read(self) -> None:
        hold = self.hold
        assert hold is not None
        tokens = self.made()
        over = tokens >= self.most or (
            self.stopped_us is not None and self.world.now_us >= self.stopped_us + self.stop_us
        )
        if over:
            self.used = tokens
            (charge, *_) = hold.settle(Usage(0, 0, tokens)) or [None]
            charged = charge.amount if charge else 0
            world = self.world
            world.balance, _ = world.balance.posted(
                held=world.balance.leased, charged=charged, actual=tokens * OUTPUT
            )
            self.desk.streams -= 1
            return
        grows = self.stopped_us is None and tokens >= hold.trigger
        if grows and not hold.grow(0, tokens):
            self.stopped_us = self.world.now_us
        self.world.later(self.read_us, self.read)


def race(rng: random.Random, *, budget: int, workers: int, streams: int, most: int, **speed: Any) -> World:
    """Streams on a budget, each begun anew until nothing is left."""
    world = World(budget, speed.pop("latency_us"))
    desks = [Desk(world) for _ in range(workers)]

    def begin(desk: Desk, tries: int) -> None:
        stream = Stream(desk, most=most, **speed)
        began = stream.begin()
        if tries:
            world.later(rng.randrange(50_000, 1_500_000), lambda: begin(desk, tries - (not began)))

    for number in range(streams):
        desk = desks[number % workers]
        world.later(rng.randrange(500_000), lambda desk=desk: begin(desk, 6))
    for desk in desks:
        desk.streams += 1
        world.later(TICK_US, desk.tick)
        world.later(600_000_000, lambda desk=desk: setattr(desk, "streams", desk.streams - 1))
    world.run()
    return world


@settings(max_examples=30, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(
    seed=st.integers(0, 2**32),
    workers=st.integers(1, 4),
    streams=st.integers(1, 64),
    pace_us=st.integers(2_000, 50_000),
    read_us=st.integers(1_000, 60_000),
    stop_us=st.integers(0, 60_000),
    latency_us=st.integers(500, 60_000),
)
def test_streams_on_one_budget_never_pass_it_and_use_it_up(
    seed: int, workers: int, streams: int, pace_us: int, read_us: int, stop_us: int, latency_us: int
) -> None:
    """Guards against a budget that running streams overshoot, and against one that their margins leave."""
    world = race(
        random.Random(seed),
        budget=20_000,
        workers=workers,
        streams=streams,
        most=NEVER,
        pace_us=pace_us,
        read_us=read_us,
        stop_us=stop_us,
        latency_us=latency_us,
    )
    assert world.balance.used <= 20_000 * OUTPUT
    assert world.balance.used >= 0.99 * 20_000 * OUTPUT
    assert world.balance.leased == 0


def test_a_stream_with_its_whole_bound_in_hold_is_not_asked_again() -> None:
    """Guards against a call of `grow` for every chunk of a stream that can cost no more."""
    world = World(1_000_000, 1000)
    desk = Desk(world)
    stream = Stream(desk, pace_us=1000, read_us=1000, stop_us=0, most=50)
    assert stream.begin()
    assert stream.hold is not None
    assert stream.hold.grow(0, 1)
    assert stream.hold.trigger == NEVER


def test_a_hold_shrinks_to_the_true_prompt() -> None:
    """Guards against a prompt's bytes locked up as tokens while its answer streams."""
    world = World(1_000_000, 1000)
    desk = Desk(world)
    rates = Rates(OUTPUT, OUTPUT, OUTPUT)
    term = Term(desk.account, rates)
    principal = Principal("org-1", "proj-1", "key-1", *["active"] * 3, None)  # type: ignore[arg-type]
    plan = Plan(principal, [term], [], 2**62)
    need = Need(40_000, 100)
    amount = term.first_amount(need)
    desk.exchange(amount, amount)
    desk.account.take(amount, world.now_us)
    hold = Hold(desk, plan, plan.hard, [amount])  # type: ignore[arg-type]
    hold.follow(40_000, 100, NEVER, 1)
    assert hold.grow(9_000, 1)
    assert desk.account.in_use < 9_500 * OUTPUT


@pytest.mark.parametrize("usage", [Usage(10, 0, 5), Usage(10, 4, 5)])
def test_a_settled_hold_charges_what_was_used(usage: Usage) -> None:
    """Guards against leases that shrink by the hold, or by a price without the cached tokens' own."""
    world = World(1_000_000, 1000)
    desk = Desk(world)
    rates = Rates(300, 100, 900, request_micros=2)
    term = Term(desk.account, rates)
    principal = Principal("org-1", "proj-1", "key-1", *["active"] * 3, None)  # type: ignore[arg-type]
    plan = Plan(principal, [term], [], 2**62)
    amount = term.first_amount(Need(100, 50))
    desk.exchange(amount, amount)
    desk.account.take(amount, world.now_us)
    (charge,) = Hold(desk, plan, plan.hard, [amount]).settle(usage)  # type: ignore[arg-type]
    uncached = usage.prompt_tokens - usage.cached_prompt_tokens
    assert charge.amount == uncached * 300 + usage.cached_prompt_tokens * 100 + 5 * 900 + 2_000_000
    assert desk.account.in_use == 0


@pytest.mark.parametrize("pace_us", [200_000, 1_000_000, 3_000_000])
def test_a_slow_stream_is_not_ended_while_there_is_budget(pace_us: int) -> None:
    """Guards against grants that idle away before the next token, until the stream is ended."""
    world = World(100_000, 5_000)
    desk = Desk(world)
    stream = Stream(desk, pace_us=pace_us, read_us=pace_us, stop_us=0, most=300)
    assert stream.begin()
    world.later(TICK_US, desk.tick)
    world.run()
    assert stream.used == 300
    assert world.balance.leased == 0


def test_a_removed_limit_ends_no_stream() -> None:
    """Guards against an answer cut short by a limit that is no more."""
    world = World(100_000, 5_000)
    desk = Desk(world)
    stream = Stream(desk, pace_us=10_000, read_us=10_000, stop_us=0, most=600)
    assert stream.begin()

    def gone(least: int, most: int) -> None:
        desk.account.granted(Grant(most), least, world.now_us, world.now_us, 0)

    desk.exchange = gone  # type: ignore[method-assign]
    world.later(TICK_US, desk.tick)
    world.run()
    assert stream.stopped_us is None
    assert stream.made() == 600
