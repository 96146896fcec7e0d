"""A worker's allowances: no interleaving of workers passes a limit, and nothing stays behind.

The ledger here is the pure arithmetic alone; the same against real databases is in tests/integration/ledger.
"""

from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from ledger.balance import Balance
from ledger.gcra import Rate
from ledger.lease_terms import BalanceKey, Grant
from ledger.limits import Limit, LimitKind, LimitWindow
from proxy.allowances import IDLE_US, TICK_US, Account, Shortage

KEY = BalanceKey("limit_1", "", 0)
NOW_US = 1_700_000_000_000_000


def a_limit(kind: LimitKind, window: LimitWindow | None, max_value: int, burst: int | None = None) -> Limit:
    return Limit("limit_1", "org-1", None, None, None, None, kind, window, max_value, burst)


def an_account(limit: Limit) -> Account:
    return Account(limit, KEY, limit.span(NOW_US)[1])


@dataclass
class Worker:
    """A worker's account, what its running calls hold, and what it settled that is not posted."""

    account: Account
    held: list[int] = field(default_factory=list)
    settled: list[tuple[int, int]] = field(default_factory=list)


class Workers(RuleBasedStateMachine):
    """Workers that share one budget, through exchanges in any order."""

    @initialize(max_value=st.integers(0, 3_000), workers=st.integers(1, 4))
    def begin(self, max_value: int, workers: int) -> None:
        limit = a_limit(LimitKind.TOKENS, LimitWindow.LIFETIME, max_value)
        self.now_us = NOW_US
        self.balance = Balance(max_value)
        self.workers = [Worker(an_account(limit)) for _ in range(workers)]
        self.leases = [0] * workers

    def exchange(self, number: int, least: int, most: int) -> None:
        account = self.workers[number].account
        back, account.back = account.back, 0
        self.balance = self.balance.given_back(back)
        self.leases[number] -= back
        granted = self.balance.grant(least, most)
        self.balance = self.balance.granted(granted)
        self.leases[number] += granted
        account.granted(Grant(granted, self.balance), least, self.now_us, self.now_us, 0)

    @rule(number=st.integers(0, 3), amount=st.integers(1, 400))
    def call(self, number: int, amount: int) -> None:
        """A call comes: out of our hands, or with the ledger's help, or not at all."""
        worker = self.workers[number % len(self.workers)]
        account = worker.account
        if not account.can_take(amount, self.now_us):
            reason = account.shortage(amount, self.now_us)
            if reason is Shortage.EXHAUSTED:
                assert self.balance.unspent < amount
            if reason is Shortage.UNKNOWN:
                least = amount - account.available
                self.exchange(self.workers.index(worker), least, least + account.target)
                assert account.can_take(amount, self.now_us) or self.balance.free < least
        if account.can_take(amount, self.now_us):
            account.take(amount, self.now_us)
            worker.held.append(amount)

    @rule(number=st.integers(0, 3), amount=st.integers(-200, 200))
    def grow(self, number: int, amount: int) -> None:
        """A running call holds more, or less."""
        worker = self.workers[number % len(self.workers)]
        if worker.held:
            change = max(-worker.held[-1], min(amount, worker.account.available))
            worker.account.change(change, self.now_us)
            worker.held[-1] += change

    @rule(number=st.integers(0, 3), share=st.floats(0, 1))
    def end(self, number: int, share: float) -> None:
        """A call ends, having used no more than it held."""
        worker = self.workers[number % len(self.workers)]
        if worker.held:
            held = worker.held.pop(0)
            actual = int(held * share)
            assert worker.account.settle(held, actual) == actual
            worker.settled.append((actual, actual))

    @rule(number=st.integers(0, 3))
    def post(self, number: int) -> None:
        """The oldest settled call is posted."""
        place = number % len(self.workers)
        worker = self.workers[place]
        if worker.settled:
            charged, actual = worker.settled.pop(0)
            held = self.leases[place]
            self.balance, self.leases[place] = self.balance.posted(held=held, charged=charged, actual=actual)

    @rule(ticks=st.integers(1, 12))
    def wait(self, ticks: int) -> None:
        """Time passes; at each tick every worker does what it does then."""
        for _ in range(ticks):
            self.now_us += TICK_US
            for number, worker in enumerate(self.workers):
                wanted = worker.account.tick(self.now_us)
                if wanted or worker.account.back:
                    self.exchange(number, 0, wanted)

    @invariant()
    def holds(self) -> None:
        if hasattr(self, "balance"):
            assert self.balance.used + self.balance.leased <= self.balance.max_value
            assert self.balance.leased == sum(self.leases)
            for worker, lease in zip(self.workers, self.leases, strict=True):
                unposted = sum(charged for charged, _ in worker.settled)
                account = worker.account
                assert account.in_use == sum(worker.held)
                assert account.available >= 0
                assert account.available + account.in_use + account.back + unposted == lease

    def teardown(self) -> None:
        """At rest everything is back, and used is what was used."""
        if not hasattr(self, "balance"):
            return
        for number, worker in enumerate(self.workers):
            while worker.held:
                self.end(number, 1.0)
            while worker.settled:
                self.post(number)
        self.wait(IDLE_US // TICK_US + 2)
        assert self.balance.leased == 0
        assert all(worker.account.available == 0 for worker in self.workers)


TestWorkers = Workers.TestCase
TestWorkers.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)


def test_idle_allowances_go_back_within_half_a_second() -> None:
    """Guards against budgets that lie in the hands of a worker without calls."""
    account = an_account(a_limit(LimitKind.TOKENS, LimitWindow.DAY, 1000))
    account.granted(Grant(100, Balance(1000, 0, 100)), 100, NOW_US, NOW_US, 0)
    account.take(40, NOW_US)
    now_us = NOW_US
    while now_us < NOW_US + 500_000:
        now_us += TICK_US
        account.tick(now_us)
    assert (account.available, account.back, account.in_use) == (0, 60, 40)


class Calls:
    """Calls of one worker on a budget that others use as well: `rate` units a tick, held for a tick."""

    def __init__(self, max_value: int) -> None:
        self.account = an_account(a_limit(LimitKind.TOKENS, LimitWindow.LIFETIME, max_value))
        self.balance = Balance(max_value)
        self.now_us = NOW_US
        self.held = self.exchanges = 0

    def exchange(self, least: int, most: int) -> None:
        account = self.account
        back, account.back = account.back, 0
        balance = self.balance.given_back(back)
        granted = balance.grant(least, most, least)
        self.balance = balance.granted(granted)
        account.granted(Grant(granted, self.balance), least, self.now_us, self.now_us, 0)
        self.exchanges += 1

    def tick(self, units: int) -> None:
        account = self.account
        self.now_us += TICK_US // 2
        used = account.settle(self.held, self.held)
        self.balance, _ = self.balance.posted(held=self.balance.leased, charged=used, actual=used)
        if units and not account.can_take(units, self.now_us):
            self.exchange(units - account.available, units - account.available + account.target)
        if units and account.can_take(units, self.now_us):
            account.take(units, self.now_us)
            self.held = units
        else:
            self.held = 0
        self.now_us += TICK_US // 2
        if (wanted := account.tick(self.now_us)) or account.back:
            self.exchange(0, wanted)


def test_far_from_a_limit_no_call_waits_and_the_ledger_is_hardly_asked() -> None:
    """Guards against a renewal for each second of a demand that the budget has a thousand hours of."""
    calls = Calls(10**12)
    for _ in range(40):
        calls.tick(100)
    begun = calls.exchanges
    for _ in range(400):
        calls.tick(100)
        assert calls.account.available >= 400 * 4  # as long as an answer may take
    assert calls.exchanges - begun <= 100 / 4


def test_a_block_of_plenty_shrinks_as_others_use_up_the_rest() -> None:
    """Guards against a worker that sits on the last of a budget, by what it was once told of it."""
    calls = Calls(2_000_000)
    for _ in range(40):
        calls.tick(100)
    assert calls.account.available > 1_500
    others = calls.balance.free - 1_000
    calls.balance = calls.balance.granted(others)
    for _ in range(24):
        calls.tick(10)
    assert calls.account.available + calls.account.in_use <= 1_000
    assert calls.balance.free >= 500


def test_plenty_idles_as_long_as_a_call_runs_and_no_longer() -> None:
    """Guards against streams whose block goes back between two of their tokens, and against a budget in the
    hands of a worker without calls.
    """
    calls = Calls(10**12)
    for _ in range(8):
        calls.tick(100)
    account = calls.account
    in_hand = account.available
    for _ in range(40):  # it runs on, and takes nothing
        calls.now_us += TICK_US
        if (wanted := account.tick(calls.now_us)) or account.back:
            calls.exchange(0, wanted)
    assert account.available >= in_hand > 0
    calls.tick(0)
    assert (account.available, account.in_use, account.back) == (0, 0, 0)
    assert calls.balance.leased == 0


def test_units_of_a_rate_outlive_no_second() -> None:
    """Guards against a burst saved up in a worker's hands, to pass beside the ledger's own."""
    account = an_account(a_limit(LimitKind.REQUESTS, LimitWindow.MINUTE, 600))
    account.granted(Grant(50, None, NOW_US), 1, NOW_US, NOW_US, 0)
    assert account.can_take(50, NOW_US + 1_000_000)
    assert not account.can_take(1, NOW_US + 1_000_001)
    assert account.back == 50


def test_a_rates_older_units_expire_before_its_newer_ones() -> None:
    """Guards against units whose life is drawn out by those that are granted after them, and against newer
    ones that are thrown away with the old.
    """
    account = an_account(a_limit(LimitKind.REQUESTS, LimitWindow.MINUTE, 600))
    account.granted(Grant(50, None, NOW_US), 1, NOW_US, NOW_US, 0)
    account.take(20, NOW_US)
    later_us = NOW_US + 600_000
    account.granted(Grant(10, None, NOW_US), 1, later_us, later_us, 0)
    account.take(5, later_us)  # of the older
    assert account.can_take(35, NOW_US + 1_000_000)
    assert not account.can_take(11, NOW_US + 1_000_001)
    assert (account.available, account.back) == (10, 25)
    account.take(4, NOW_US + 1_000_001)
    assert not account.can_take(1, later_us + 1_000_001)
    assert (account.available, account.back) == (0, 31)


def test_a_rate_is_renewed_before_its_units_expire() -> None:
    """Guards against calls that wait for the ledger each second, on a rate with plenty left."""
    account = an_account(a_limit(LimitKind.REQUESTS, LimitWindow.MINUTE, 600_000))
    now_us, waited = NOW_US, 0
    for turn in range(400):
        now_us += TICK_US // 10
        if not account.can_take(7, now_us):
            waited += 1
            account.granted(Grant(7 + account.target, None, now_us), 7, now_us, now_us, 0)
        account.take(7, now_us)
        account.settle(7, 7)
        if turn % 10 == 9 and (wanted := account.tick(now_us)):
            account.granted(Grant(wanted, None, now_us), 0, now_us, now_us, 0)
    assert waited <= 5


def test_a_rates_excess_is_a_debt_and_its_rest_comes_back() -> None:
    """Guards against a tokens-per-minute limit that counts its guesses."""
    account = an_account(a_limit(LimitKind.TOKENS, LimitWindow.MINUTE, 6000))
    account.granted(Grant(500, None, NOW_US), 1, NOW_US, NOW_US, 0)
    account.take(300, NOW_US)
    assert account.settle(300, 450) == 0
    assert account.back == -150
    account.take(200, NOW_US)
    account.settle(200, 20)
    assert account.back == 30


def test_refused_callers_are_told_different_turns() -> None:
    """Guards against sixty-four clients that all come back for one free unit."""
    limit = a_limit(LimitKind.REQUESTS, LimitWindow.MINUTE, 600)
    account = an_account(limit)
    rate = Rate(600, 100)
    tat_us = NOW_US + rate.tolerance_us
    account.granted(Grant(0, None, tat_us), 1, NOW_US, NOW_US, 0)
    assert account.shortage(1, NOW_US) is Shortage.SOON
    told = [account.tell_retry_us(1, NOW_US) - NOW_US for _ in range(4)]
    assert told == [100_000, 200_000, 300_000, 400_000]
    assert account.shortage(1, NOW_US + 100_000) is Shortage.UNKNOWN
    assert max(account.tell_retry_us(1, NOW_US) - NOW_US for _ in range(500)) <= 10_000_000


def test_workers_that_share_a_rate_tell_turns_that_leave_room_for_each_other() -> None:
    """Guards against four workers that each tell the whole rate's turns: three of four come in vain."""
    account = an_account(a_limit(LimitKind.REQUESTS, LimitWindow.MINUTE, 600))
    now_us = NOW_US
    for place in range(400):  # a quarter of the rate passes here
        account.granted(Grant(1, None, now_us), 1, now_us, now_us, 0)
        if place % 8 < 5:
            account.take(1, now_us)
        now_us += TICK_US
        account.tick(now_us)
    account.granted(Grant(0, None, now_us + account.rate.tolerance_us), 1, now_us, now_us, 0)  # type: ignore[union-attr]
    first, second = (account.tell_retry_us(1, now_us) for _ in range(2))
    assert 300_000 <= second - first <= 600_000


def test_what_is_used_up_is_refused_without_asking() -> None:
    """Guards against a flood of refused calls that each ask the database."""
    account = an_account(a_limit(LimitKind.TOKENS, LimitWindow.DAY, 1000))
    account.granted(Grant(0, Balance(1000, 995, 0)), 10, NOW_US, NOW_US, 0)
    assert account.shortage(10, NOW_US + 3600_000_000) is Shortage.EXHAUSTED
    assert account.shortage(5, NOW_US + 3600_000_000) is Shortage.UNKNOWN
    account.set_anew(a_limit(LimitKind.TOKENS, LimitWindow.DAY, 2000))
    assert account.shortage(10, NOW_US) is Shortage.UNKNOWN


def test_what_others_hold_is_asked_for_again() -> None:
    """Guards against a refusal for good where a running call may give back."""
    account = an_account(a_limit(LimitKind.TOKENS, LimitWindow.DAY, 1000))
    account.granted(Grant(0, Balance(1000, 100, 895)), 10, NOW_US, NOW_US, 0)
    assert account.shortage(10, NOW_US) is Shortage.BUSY
    assert account.shortage(4, NOW_US) is Shortage.UNKNOWN
    assert account.shortage(10, NOW_US + 100_000) is Shortage.UNKNOWN


def test_slots_come_back_to_the_worker_and_in_time_to_others() -> None:
    """Guards against slots that one busy worker keeps from all others."""
    account = an_account(a_limit(LimitKind.CONCURRENT, None, 8))
    account.granted(Grant(8, Balance(8, 0, 8)), 8, NOW_US, NOW_US, 0)
    for place in range(8):
        account.take(1, NOW_US + place)
    assert not account.can_take(1, NOW_US)
    assert account.settle(1, 1) == 0
    assert account.can_take(1, NOW_US)
    for tick in (1, 2):
        assert (account.available, account.back) == (1, 0)
        account.take(1, NOW_US + tick * TICK_US - 1)  # never idle
        account.settle(1, 1)
        account.tick(NOW_US + tick * TICK_US)
    assert (account.available, account.back) == (0, 1)
