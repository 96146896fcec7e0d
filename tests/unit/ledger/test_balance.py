"""The arithmetic of leases: whatever happens in whatever order, a limit holds and nothing is lost."""

from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from ledger.balance import SHARE, Balance


@dataclass
class Holder:
    """A worker as it sees itself, and (`lease`) as the ledger does."""

    lease: int = 0
    free: int = 0
    calls: list[int] = field(default_factory=list)
    """What each running call holds."""
    unposted: list[int] = field(default_factory=list)
    """What settled calls were charged, and used, still in the journal."""


WHO = st.integers(0, 2)
QUARTERS = st.sampled_from([4, 3, 1, 0])
"""How much of what there is: all, most, some or nothing, each often enough."""


class Leases(RuleBasedStateMachine):
    """Three holders on one balance: grants, calls, returns, postings, crashes, ends and expiries."""

    @initialize(max_value=st.integers(0, 300))
    def begin(self, max_value: int) -> None:
        self.balance = Balance(max_value)
        self.holders = [Holder() for _ in range(3)]
        self.lost: list[Holder] = []  # their journals may come to light again
        self.posted = 0
        self.overdrawn = 0  # used by calls of holders whose lease was taken from them

    @rule(who=WHO, least=st.integers(0, 100), more=st.integers(0, 300))
    def wish(self, who: int, least: int, more: int) -> None:
        free = self.balance.free
        granted = self.balance.grant(least, least + more)
        assert granted == 0 or least <= granted <= max(least, free // SHARE)
        assert granted or free < least or least == 0  # what could be granted was
        self.balance = self.balance.granted(granted)
        self.holders[who].lease += granted
        self.holders[who].free += granted

    @rule(who=WHO, quarters=QUARTERS)
    def admit(self, who: int, quarters: int) -> None:
        holder = self.holders[who]
        held = holder.free * quarters // 4
        holder.free -= held
        holder.calls.append(held)

    @rule(who=WHO, quarters=QUARTERS)
    def settle(self, who: int, quarters: int) -> None:
        holder = self.holders[who]
        if holder.calls:
            held = holder.calls.pop()
            charged = held * quarters // 4
            holder.free += held - charged
            holder.unposted.append(charged)

    @rule(who=WHO, quarters=QUARTERS)
    def give_back(self, who: int, quarters: int) -> None:
        holder = self.holders[who]
        amount = holder.free * quarters // 4
        holder.free -= amount
        holder.lease -= amount
        self.balance = self.balance.given_back(amount)

    @rule(who=WHO, place=st.integers(0, 5))
    def post(self, who: int, place: int) -> None:
        """Early or late, in any order."""
        if self.holders[who].unposted:
            self._post(self.holders[who], place % len(self.holders[who].unposted))

    @rule(who=WHO)
    def crash_and_end(self, who: int) -> None:
        """What it had in hand is forgotten; what is in its journal is posted, and its successor ends it."""
        self.holders[who].calls.clear()
        self.holders[who].free = 0
        self._end(self.holders[who])
        self.holders[who] = Holder()

    @rule(who=WHO)
    def stop(self, who: int) -> None:
        """A clean stop."""
        self._end(self.holders[who])
        self.holders[who] = Holder()

    @rule(who=WHO)
    def expire(self, who: int) -> None:
        """Its host is gone; its records may still come."""
        holder = self.holders[who]
        self.balance = self.balance.given_back(holder.lease)
        self.lost.append(Holder(unposted=holder.unposted))
        self.holders[who] = Holder()

    @rule()
    def find(self) -> None:
        """A lost host comes back."""
        if self.lost:
            self._end(self.lost.pop())

    def _post(self, holder: Holder, place: int) -> None:
        charged = holder.unposted.pop(place)
        before = self.balance
        self.balance, holder.lease = before.posted(held=holder.lease, charged=charged, actual=charged)
        self.overdrawn += charged - (before.leased - self.balance.leased)
        self.posted += charged

    def _end(self, holder: Holder) -> None:
        while holder.unposted:
            self._post(holder, 0)
        self.balance = self.balance.given_back(holder.lease)
        holder.lease = holder.free = 0

    @invariant()
    def the_limit_holds(self) -> None:
        if hasattr(self, "balance"):
            used, leased = self.balance.used, self.balance.leased
            assert used == self.posted
            assert used + leased <= self.balance.max_value + self.overdrawn

    @invariant()
    def leases_add_up(self) -> None:
        for holder in getattr(self, "holders", []):
            assert holder.lease == holder.free + sum(holder.calls) + sum(holder.unposted)
        if hasattr(self, "balance"):
            assert self.balance.leased == sum(holder.lease for holder in self.holders)

    def teardown(self) -> None:
        """When all is quiet, everything is back."""
        for holder in getattr(self, "holders", []):
            self._end(holder)
        if hasattr(self, "balance"):
            assert self.balance.leased == 0
            assert self.balance.free == max(0, self.balance.max_value - self.posted)


TestLeases = Leases.TestCase
TestLeases.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)


def test_a_use_beyond_its_charge_counts_in_full() -> None:
    """Guards against a use that disappears because nothing was leased for it."""
    assert Balance(10, used=2, leased=5).posted(held=5, charged=3, actual=9) == (Balance(10, 11, 2), 2)
    assert Balance(10, used=2, leased=5).posted(held=0, charged=3, actual=3) == (Balance(10, 5, 5), 0)


def test_blocks_shrink_to_the_need_near_the_limit() -> None:
    """Guards against one worker that takes the last of a budget into its hands for a small call."""
    assert Balance(800).grant(10, 1000) == 800 // SHARE
    assert Balance(800, used=790).grant(10, 1000) == 10
    assert Balance(800, used=791).grant(10, 1000) == 0
    assert Balance(100, used=150, leased=10).free == 0
    assert Balance(100, used=150, leased=10).unspent == 0
