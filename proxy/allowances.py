"""What this worker has on lease of each limit, and what it knows of the rest. Pure.

Owns the arithmetic between two exchanges with the ledger: taking and putting back without I/O, how much to
ask for, what idles and goes back, and what a refusal lets us refuse without asking again. Knows neither the
database nor calls. Times are microseconds; the clock is the caller's.

Rules:

- `available` is free in our hands: with what calls hold it is the lease. Of a consumable and of slots it is
  below zero only where a lease was taken from us under running calls, or calls went without one: then nothing
  is taken until it is back.
- Units of a rate wait for their use no longer than `Rate.life_us`; what is then left, and what a call held
  and did not use, goes `back`. What it used beyond its hold is a debt: a negative `back`.
- A block is as large as `proxy.blocks` says. What is more than that near the limit goes back.
- While the ledger is away, a call of a tenant that fails open goes alone (`go_alone`): of a rate and of slots
  this worker then has the whole for itself, by its own count; of a consumable the lease is overdrawn, and
  what the call used beyond it is charged to nobody and posted all the same.
- What is used of a consumable only grows, so a need above what was ever unspent is refused for good, until
  the limit is set anew or its window ends.
"""

from collections.abc import Callable
from enum import Enum, auto
from typing import Final

from ledger.balance import Balance
from ledger.gcra import Rate
from ledger.lease_terms import BalanceKey, Grant
from ledger.limits import FOREVER_US, Limit, LimitNature
from proxy import blocks

TICK_US: Final = 250_000
"""How often demand is measured and idle allowances are looked for."""

IDLE_US: Final = 240_000
"""An allowance that nothing was taken from for so long goes back: within half a second, a tick included."""

BUSY_US: Final = 100_000
"""How long a shortage that others' holds make is remembered: they may come back at any moment."""

HANDOVER_US: Final = 10_000
"""What units of a rate get to reach the calls that wait for them, however late the ledger's answer was."""

SLOT_TENURE_US: Final = 500_000
"""How long a worker hands a scarce slot from call to call before it lets other workers have it."""

WORKERS_MAX: Final = 16
"""How many workers are thought to share a rate, at most, when refused calls are told their turns."""


class Shortage(Enum):
    """Why a need cannot be met."""

    UNKNOWN = auto()  # ask the ledger
    BUSY = auto()  # all that is left is in others' hands: it may come back
    EXHAUSTED = auto()  # used up: until the window ends or the limit is set anew
    SOON = auto()  # a rate: at `retry_us`


class Account:
    """One balance of one limit, as far as this worker has to do with it."""

    __slots__ = (
        "__weakref__",
        "_demand",
        "_full",
        "_heard_us",
        "_held_since_us",
        "_is_slots",
        "_last_us",
        "_older",
        "_pace",
        "_taken",
        "_touched_us",
        "_unspent",
        "_waiting",
        "available",
        "back",
        "balance",
        "expires_us",
        "in_use",
        "is_alone",
        "is_gone",
        "is_watched",
        "key",
        "limit",
        "nature",
        "rate",
        "retry_us",
        "tat_us",
        "told_us",
        "until_us",
    )

    def __init__(self, limit: Limit, key: BalanceKey, until_us: int) -> None:
        self.key: Final = key
        self.nature: Final = limit.nature
        self._is_slots: Final = self.nature is LimitNature.SLOTS
        self.until_us: Final = until_us
        """When its window ends."""
        self.limit = limit
        self.rate: Rate | None = limit.rate if self.nature is LimitNature.RATE else None
        self.available = 0
        self.in_use = 0
        """Held by running calls."""
        self.back = 0
        """To be returned with the next exchange."""
        self.balance: Balance | None = None
        """As it was after the last exchange."""
        self.tat_us = 0
        """A rate's, by our clock."""
        self.retry_us = 0
        """Until then the ledger need not be asked again."""
        self.told_us = 0
        self.is_watched = False
        """Whether the desk's ticks look at it."""
        self.is_gone = False
        """The limit has been removed: nothing is refused on its account."""
        self.is_alone = False
        """The ledger is away, and this worker keeps the rate by itself."""
        self._unspent: int | None = None
        self.expires_us = FOREVER_US if self.rate is None else 0
        """When the oldest units of a rate are to go back."""
        self._last_us = 0  # and the newest
        self._older = self._full = 0  # how many are of another grant than the last, of how many then
        self._demand = 0.0  # units per second, lately
        self._pace = limit.max_value / 60 if self.rate else 0.0
        """The same over some seconds; of a rate, all of it at first."""
        self._taken = 0
        self._touched_us = 0
        self._held_since_us = 0
        self._heard_us = 0  # when the ledger last told the balance
        self._waiting: dict[Callable[[], None], int] = {}

    # For calls.

    def can_take(self, amount: int, now_us: int) -> bool:
        """Whether `amount` can be taken now."""
        if self.is_gone:
            return True
        if now_us > self.expires_us:
            self._expire(now_us)
        return self.available >= amount or amount == 0

    def take(self, amount: int, now_us: int) -> None:
        """Takes what `can_take` said yes to."""
        self.available -= amount
        self.in_use += amount
        self._taken += amount
        self._touched_us = now_us

    def change(self, amount: int, now_us: int) -> None:
        """A call holds so much more than before, or less where it is negative; at most what is available."""
        self.available -= amount
        self.in_use += amount
        if amount > 0:
            self._taken += amount
            self._touched_us = now_us

    def settle(self, held: int, actual: int) -> int:
        """A call that held so much has used `actual`; returns what of it our lease covers.

        Of a consumable what is covered leaves our hands for good: its posting takes it from the lease.
        """
        self.in_use -= held
        if self._is_slots:
            self.available += held
            return 0
        if self.rate is not None:
            if held == actual:
                return 0
            if not self.is_alone:
                self.back += held - actual
            elif actual > held:
                self.tat_us = self.rate.charged(self.tat_us, self._touched_us, actual - held)
            else:
                self.tat_us = self.rate.given_back(self.tat_us, held - actual)
            return 0
        room = held + self.available
        covered = actual if actual <= room else max(0, room)
        self.available = room - covered
        return covered

    def shortage(self, amount: int, now_us: int) -> Shortage:
        """Why `amount` cannot be taken, as far as is known without asking."""
        if self._unspent is not None and amount > self._unspent:
            return Shortage.EXHAUSTED
        if now_us >= self.retry_us:
            return Shortage.UNKNOWN
        if self.rate is not None:
            return Shortage.SOON
        # What was too little for another call may do for this one.
        is_free = self.balance is not None and amount - self.available <= self.balance.free
        return Shortage.UNKNOWN if is_free else Shortage.BUSY

    def may_go_alone(self, amount: int, now_us: int) -> bool:
        """Whether a call may pass that the ledger cannot be asked about: see the rules."""
        if self.rate is not None:
            if self.rate.free(self.tat_us, now_us) >= amount:
                return True
            self.retry_us = max(now_us + 1, self.rate.free_at(self.tat_us, now_us, amount))
            return False
        if self.nature is LimitNature.SLOTS:
            return self.in_use + amount <= self.limit.max_value
        return self.shortage(amount, now_us) is not Shortage.EXHAUSTED

    def go_alone(self, amount: int, now_us: int) -> None:
        """Takes what `may_go_alone` said yes to."""
        if self.rate is not None:
            self._drop()
            self.is_alone = True
            granted, self.tat_us = self.rate.granted(self.tat_us, now_us, amount, amount)
            self.available += granted
        self.take(amount, now_us)

    def await_grant(self, then: Callable[[], None], lacks: int) -> None:
        """`then` is called when the next answer grants something: before it could idle away. `lacks`: how
        much it would take.
        """
        self._waiting[then] = lacks

    @property
    def awaited(self) -> int:
        """What all who wait for a grant would take."""
        return sum(self._waiting.values())

    def tell_retry_us(self, amount: int, now_us: int) -> int:
        """When a refused call of a rate should come again: each one told a later turn than the last, so that
        who waits as told finds a free unit. Turns go round after the burst.
        """
        assert self.rate is not None, self.limit
        first_us = max(self.retry_us, now_us)
        if not first_us <= self.told_us < first_us + self.rate.tolerance_us:
            self.told_us = first_us
        # Other workers tell turns of the same rate: each its share.
        alone = self.rate.per_minute / 60
        workers = min(WORKERS_MAX, max(1.0, alone / max(self._pace, alone / WORKERS_MAX)))
        told_us, self.told_us = self.told_us, self.told_us + int(self.rate.cost_us(amount) * workers)
        return told_us

    # For what the app sees.

    @property
    def used(self) -> int:
        """What is used or held for calls, by the last exchange and by our own since."""
        if self.rate is not None or self.balance is None:
            return self.in_use
        return max(0, self.balance.used + self.balance.leased - self.available)

    def remaining(self, now_us: int) -> int:
        """What could still be taken now: in our hands, or free when the ledger was last asked."""
        if self.rate is not None:
            free = self.rate.free(self.tat_us, now_us) + max(0, self.available)
            return free if free < self.rate.burst else self.rate.burst
        return self.available + (self.balance.free if self.balance else 0)

    def reset_us(self, now_us: int) -> int:
        """How long until it is full again: a rate refills, a window ends, slots say 0."""
        if self.rate is not None:
            if self.tat_us <= now_us:
                return 0
            return max(0, self.tat_us - now_us - self.rate.cost_us(max(0, self.available)))
        return 0 if self._is_slots else self.until_us - now_us

    # For the exchange.

    def set_anew(self, limit: Limit) -> None:
        """The limit has been changed: what was known of it is forgotten, what is idle goes back."""
        self.limit = limit
        self.rate = limit.rate if self.nature is LimitNature.RATE else None
        self._unspent, self.retry_us, self.told_us, self.is_gone = None, 0, 0, False
        self._drop()

    def granted(self, grant: Grant, asked: int, sent_us: int, now_us: int, ledger_ahead_us: int) -> None:
        """Notes the answer to a wish of at least `asked`, sent at `sent_us`.

        `ledger_ahead_us`: how far the ledger's clock is ahead of ours.
        """
        waiting, self._waiting = self._waiting, {}
        if grant.is_gone:
            self.is_gone, self.balance = True, None
            return
        self.balance, self.is_alone, self._heard_us = grant.balance, False, now_us
        if self.rate is not None:
            assert grant.tat_us is not None, grant
            self.tat_us = grant.tat_us - ledger_ahead_us
        if grant.granted > 0:
            if self.available == 0 and self.in_use == 0:
                self._held_since_us = now_us
            if self.rate is not None:
                self._renew(grant.granted, max(sent_us + self.rate.life_us, now_us + HANDOVER_US), now_us)
            self.available += grant.granted
            if asked > 0:
                self._touched_us = now_us
            self.retry_us = 0
            for then in waiting:
                then()
        elif asked > 0:
            self._refused(asked, now_us)

    def _refused(self, asked: int, now_us: int) -> None:
        if self.rate is not None:
            self.retry_us = max(now_us + 1, self.rate.free_at(self.tat_us, now_us, asked))
            return
        assert self.balance is not None
        self._unspent = self.balance.unspent
        self.retry_us = now_us + BUSY_US

    def give_up(self) -> None:
        """Everything idle goes back: this worker ends."""
        self._drop()

    def lost(self) -> None:
        """Our leases were taken for a dead worker's: running calls hold what is not on lease any more."""
        if self.rate is None:
            self.available, self.back = -self.in_use, 0

    def tick(self, now_us: int) -> int:
        """Once every TICK_US: measures demand and puts back what idles. How much to ask for; 0: nothing."""
        self._demand += (self._taken * 1_000_000 / TICK_US - self._demand) / 2
        self._pace += (self._taken * 1_000_000 / TICK_US - self._pace) / 16
        self._taken = 0
        if self.is_gone:
            self.available = self.back = 0
            return 0
        is_idle = now_us - self._touched_us >= IDLE_US and not self._is_kept
        if now_us > self.expires_us:
            self._expire(now_us)
        elif is_idle or now_us >= self.until_us:
            self._demand = 0.0
            self._drop()
        elif self.nature is LimitNature.SLOTS and self._is_scarce and self._tenure_over(now_us):
            self._drop()
        if now_us < self.retry_us or (is_idle and not self.debt):
            return 0
        if self.rate is not None:
            return self._renewal(now_us)
        near, target = self._near, self.target
        if self.debt or self.available < blocks.low(target, near):
            return target - self.available
        if self.nature is not LimitNature.CONSUMABLE:
            return 0
        if self.available > 2 * target and blocks.is_part(self.available, blocks.PLENTY // 2, self.balance):
            self.back += self.available - target
            self.available = target
        is_old = now_us - self._heard_us >= blocks.TOLD_US
        return max(1, target - self.available) if is_old and self.available > near else 0

    def top_up(self, now_us: int) -> int:
        """How much to ask for where the ledger is asked for others anyway: more of a block than a quarter is
        gone.
        """
        if now_us < self.retry_us or self.is_gone:
            return 0
        if now_us - self._touched_us >= IDLE_US and not self._is_kept:
            return 0
        target = self.target
        return target - self.available if self.available * 4 < target * 3 else 0

    @property
    def target(self) -> int:
        """How much one block should be. Before demand is measured, it doubles what was taken since the last
        tick.
        """
        near = self._near
        if self.rate is not None or self.balance is None:
            return near
        if self.nature is LimitNature.SLOTS:
            return blocks.slots(self.in_use, self.balance)
        return blocks.consumable(near, max(self._pace, self._demand), self.balance)

    @property
    def _near(self) -> int:
        """What recent demand takes in the least time that a block should last."""
        if self.nature is LimitNature.SLOTS:
            return 0  # what comes back is enough
        span_us = blocks.AHEAD_US if self.rate is None else self.rate.life_us
        return max(self._taken, blocks.lasting(self._demand, span_us))

    @property
    def _is_kept(self) -> bool:
        """Whether it may idle."""
        is_running = self.in_use > 0 and self.available > 0
        if not is_running or self.nature is not LimitNature.CONSUMABLE:
            return False
        return not blocks.is_part(self.available, blocks.LITTLE, self.balance)

    @property
    def debt(self) -> int:
        """What running calls hold and is not on lease any more."""
        return max(0, -self.available) if self.rate is None else 0

    def is_quiet(self, now_us: int) -> bool:
        """Whether it has nothing to do with us any more."""
        if self.is_gone:
            return True
        nothing = self.available == self.in_use == self.back == self._taken == 0
        return nothing and (now_us >= self.until_us or now_us - self._touched_us > 60_000_000)

    def _renewal(self, now_us: int) -> int:
        """How much to ask for of a rate: so early that no call waits for the answer."""
        target = self._near
        left = self.available if self._last_us > now_us + 3 * TICK_US // 2 else 0
        return target - left if left < target // 2 else 0

    def _renew(self, granted: int, expires_us: int, now_us: int) -> None:
        """What is left of earlier grants keeps its time; it is used first."""
        if now_us > self.expires_us:
            self._expire(now_us)
        self._older = self.available
        self._full = self.available + granted
        self._last_us = expires_us
        if not self._older:
            self.expires_us = expires_us

    def _expire(self, now_us: int) -> None:
        """Units of a rate that have waited for their use long enough go back."""
        if now_us > self._last_us:
            self._drop()
            return
        older = min(self.available, self._older - (self._full - self.available))
        if older > 0:
            self.available -= older
            self.back += older
        self._older, self._full, self.expires_us = 0, self.available, self._last_us

    def _drop(self) -> None:
        if self.available > 0:
            self.back += self.available
            self.available = 0

    @property
    def _is_scarce(self) -> bool:
        return self.balance is not None and self.balance.free == 0

    def _tenure_over(self, now_us: int) -> bool:
        if now_us - self._held_since_us < SLOT_TENURE_US:
            return False
        self._held_since_us = now_us
        return True
