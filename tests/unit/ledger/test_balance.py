"""The arithmetic of leases: whatever happens in whatever order, a limit holds and nothing is lost."""

from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    precondition,
    rule,
)

from ledger.balance import SHARE, Balance


@dataclass
class Holder:
    """A worker as it sees itself, and (`lease`) as the ledger does."""

    lease: int = 0
    free: int = 0
    calls: list[int] = field(default_factory=list)
    unposted: list[tuple[int, int]] = field(default_factory=list)
    """What settled calls were charged and what they used, still in the journal."""
    is_dead: bool = False
    is_expired: bool = False


class Leases(RuleBasedStateMachine):
    """Several holders on one balance: grants, calls, returns, postings, crashes, ends and expiries."""

    holders: Bundle[Holder] = Bundle("holders")

    @initialize(max_value=st.integers(0, 300))
    def begin(self, max_value: int) -> None:
        self.balance = Balance(max_value)
        self.everybody: list[Holder] = []
        self.posted: list[tuple[int, int]] = []
        self.overdrawn = 0  # used by calls of holders whose lease was taken from them

    @rule(target=holders)
    def register(self) -> Holder:
        holder = Holder()
        self.everybody.append(holder)
        return holder

    @rule(holder=holders, least=st.integers(0, 100), more=st.integers(0, 300))
    def wish(self, holder: Holder, least: int, more: int) -> None:
        if holder.is_dead:
            return
        free = self.balance.free
        granted = self.balance.grant(least, least + more)
        assert granted == 0 or least <= granted <= max(least, free // SHARE)
        assert granted or free < least or least == 0  # what could be granted was
        self.balance = self.balance.granted(granted)
        holder.lease += granted
        holder.free += granted

    @rule(holder=holders, share=st.floats(0, 1))
    def admit(self, holder: Holder, share: float) -> None:
        if not holder.is_dead:
            held = int(holder.free * share)
            holder.free -= held
            holder.calls.append(held)

    @precondition(lambda self: any(holder.calls for holder in self.everybody))
    @rule(holder=holders, share=st.floats(0, 1))
    def settle(self, holder: Holder, share: float) -> None:
        if holder.calls and not holder.is_dead:
            held = holder.calls.pop()
            charged = int(held * share)
            holder.free += held - charged
            holder.unposted.append((charged, charged))

    @rule(holder=holders, share=st.floats(0, 1))
    def give_back(self, holder: Holder, share: float) -> None:
        if not holder.is_dead:
            amount = int(holder.free * share)
            holder.free -= amount
            holder.lease -= amount
            self.balance = self.balance.given_back(amount)

    @rule(holder=holders, place=st.integers(0, 5))
    def post(self, holder: Holder, place: int) -> None:
        """Early or late, in any order."""
        if holder.unposted:
            self._post(holder, place % len(holder.unposted))

    @rule(holder=holders)
    def crash(self, holder: Holder) -> None:
        holder.is_dead = True
        holder.calls.clear()
        holder.free = 0

    @rule(holder=holders)
    def expire(self, holder: Holder) -> None:
        """Its records may still come."""
        if holder.is_dead:
            holder.is_expired = True
            self.balance = self.balance.given_back(holder.lease)
            holder.lease = 0

    @rule(holder=consumes(holders))
    def end(self, holder: Holder) -> None:
        """A clean stop, or a successor's word: all that is in the journal is posted before."""
        self._end(holder)

    def _post(self, holder: Holder, place: int) -> None:
        charged, actual = holder.unposted.pop(place)
        before = self.balance
        self.balance, holder.lease = before.posted(held=holder.lease, charged=charged, actual=actual)
        self.overdrawn += actual - (before.leased - self.balance.leased)
        self.posted.append((charged, actual))

    def _end(self, holder: Holder) -> None:
        if not holder.is_dead:
            while holder.calls:
                holder.free += holder.calls.pop()
        while holder.unposted:
            self._post(holder, 0)
        self.balance = self.balance.given_back(holder.lease)
        holder.lease = holder.free = 0
        holder.is_dead = True

    @invariant()
    def the_limit_holds(self) -> None:
        assert self.balance.used + self.balance.leased <= self.balance.max_value + self.overdrawn
        if not any(holder.is_expired for holder in self.everybody):
            assert self.overdrawn == 0

    @invariant()
    def leases_add_up(self) -> None:
        assert self.balance.leased == sum(holder.lease for holder in self.everybody)
        for holder in self.everybody:
            if not holder.is_dead:
                waiting = sum(charged for charged, _ in holder.unposted)
                assert holder.lease == holder.free + sum(holder.calls) + waiting

    def teardown(self) -> None:
        """When all is quiet, everything is back, and what is used is what was posted."""
        for holder in getattr(self, "everybody", []):
            self._end(holder)
        if hasattr(self, "balance"):
            assert self.balance.leased == 0
            assert self.balance.used == sum(actual for _, actual in self.posted)
            assert self.balance.free == max(0, self.balance.max_value - self.balance.used)


TestLeases = Leases.TestCase
TestLeases.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_blocks_shrink_to_the_need_near_the_limit() -> None:
    """Guards against one worker that takes the last of a budget into its hands for a small call."""
    assert Balance(800).grant(10, 1000) == 800 // SHARE
    assert Balance(800, used=790).grant(10, 1000) == 10
    assert Balance(800, used=791).grant(10, 1000) == 0
    assert Balance(100, used=150, leased=10).free == 0
    assert Balance(100, used=150, leased=10).unspent == 0
