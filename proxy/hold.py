"""What one running call holds of its limits: taken all or nothing, grown as tokens arrive, settled once.

Owns the running hold of a stream. Rules:

- A stream holds its prompt and a block of tokens ahead of what it has; it extends the block out of the
  worker's hands, without waiting, and has more leased in the background.
- The engine runs ahead of what we have read, and goes on for a moment when it is told to stop: the last
  `margin` tokens of a hold are for that. Where they are reached and no more can be had, the stream ends.
- What a stream asked for it takes when it comes, not at its next token: it may be a slow one.
- A rate never ends a running answer: what it uses beyond its hold is paid back before the next call.
- A ledger that is away ends no running answer either; what is used beyond the hold is posted all the same.
  Before it is known to be away, an answer that is still out ends a stream past its hold, unless the tenant
  fails open.
"""

from collections.abc import Sequence
from typing import Final, Protocol

from ledger.record import Charge
from ledger.states import OutagePolicy
from ledger.usage import Usage
from proxy.allowances import Account, Shortage
from proxy.plans import Plan, Term

BLOCK_TOKENS: Final = 160
"""What a stream holds ahead for each choice, at least: what 500 tokens a second make in MARGIN_SECONDS, since
the pace of a new stream is not known.
"""

AHEAD_SECONDS: Final = 1.5
"""What it holds ahead at the pace it has: longer than the ledger takes to grant more."""

LOW_SECONDS: Final = 0.7
"""It asks for more when so much is left, or what two late answers take: one may be under way already."""

MARGIN_SECONDS: Final = 0.3
"""The longest that an engine goes on after it was told to stop (some 30 ms), our own delay included."""

MARGIN_TOKENS: Final = 4
"""The margin of each choice before its pace is known."""

PACE_US_MIN: Final = 20_000
"""Tokens that came at once came in no less than this."""

NEVER: Final = 1 << 62

BACK_US: Final = 2_000_000
"""How long after an outage a stream that ran on without the ledger waits for its first answer."""


class Desk(Protocol):
    """Where more is leased: `proxy.leasing.LeaseDesk`."""

    @property
    def holder_id(self) -> str: ...
    @property
    def is_away(self) -> bool: ...
    @property
    def late_s(self) -> float: ...
    @property
    def lost_us(self) -> int: ...
    def lose(self) -> None: ...
    def now_us(self) -> int: ...
    def ask(self, account: Account, least: int, most: int) -> None: ...


class Hold:
    """One call's. `covered`: completion tokens that it has hold of; `most`: what the engine may make at most.

    `trigger`: at how many completion tokens `grow` must be called.
    """

    __slots__ = (
        "_amounts",
        "_away_us",
        "_choices",
        "_completion",
        "_desk",
        "_is_over",
        "_most",
        "_pace",
        "_plan",
        "_prompt",
        "_since_us",
        "_terms",
        "covered",
        "trigger",
    )

    def __init__(self, desk: Desk, plan: Plan, terms: Sequence[Term], amounts: list[int]) -> None:
        self._desk = desk
        self._plan = plan
        self._terms = terms
        self._amounts = amounts
        self._prompt = self._completion = self._choices = 0
        self._is_over = False
        self._pace = 0.0
        self._since_us = 0
        self._away_us = -NEVER  # when the ledger was last found away
        self._most = self.covered = self.trigger = NEVER

    @property
    def holder_id(self) -> str:
        """Whose leases it is out of."""
        return self._desk.holder_id

    def follow(self, prompt_tokens: int, covered: int, most: int, choices: int) -> None:
        """This is a stream's: its first tokens tell its true prompt and its pace."""
        self._prompt, self.covered, self._most, self._choices = prompt_tokens, covered, most, choices
        self.trigger = 1 if self._plan.budgets else NEVER

    def grow(self, prompt_tokens: int, completion_tokens: int) -> bool:
        """Extends the hold to what the stream has come to; False: nothing is left, end it now."""
        now_us = self._desk.now_us()
        if now_us > self._desk.lost_us:
            self._desk.lose()
        if not self._since_us:
            self._since_us = now_us
        self._pace = completion_tokens / max(now_us - self._since_us, PACE_US_MIN) * 1e6
        self._prompt = prompt_tokens or self._prompt
        self._completion = completion_tokens
        return self._cover(now_us)

    def _cover(self, now_us: int) -> bool:
        completion_tokens, pace = self._completion, self._pace
        margin = self._choices * MARGIN_TOKENS + int(pace * MARGIN_SECONDS)
        low_s = max(LOW_SECONDS, LOW_SECONDS / 2 + 2 * self._desk.late_s)
        ahead = max(self._choices * BLOCK_TOKENS, int(pace * (AHEAD_SECONDS - LOW_SECONDS + low_s)))
        wanted = min(self._most, completion_tokens + margin + ahead)
        short = self._extend(wanted, completion_tokens + margin, now_us)
        if self.covered >= self._most:
            self.trigger = NEVER
            return True
        if not short:
            low = margin + max(self._choices * BLOCK_TOKENS // 4, int(pace * low_s))
            self.trigger = max(completion_tokens + 1, self.covered - low)
            return True
        self.trigger = completion_tokens + 1
        if self._desk.is_away:
            self._away_us = now_us
            return True
        if completion_tokens + margin < self.covered:
            return True
        if any(reason is not Shortage.UNKNOWN for reason in short):
            return False
        return completion_tokens < self.covered or self._may_wait(now_us)

    def _may_wait(self, now_us: int) -> bool:
        """Whether the answer that is still out may be waited for past the hold: where the ledger is just
        back, and where the tenant would have gone on without it.
        """
        is_open = self._plan.principal.outage_policy is OutagePolicy.FAIL_OPEN
        return is_open or now_us - self._away_us < BACK_US

    def settle(self, usage: Usage) -> tuple[Charge, ...]:
        """The call has ended: gives back what it did not use; what of it our leases cover."""
        self._is_over = True
        charges = []
        for term, amount in zip(self._terms, self._amounts, strict=True):
            account = term.account
            actual = term.base if term.is_flat else term.actual(usage)
            if covered := account.settle(amount, actual):
                charges.append(Charge(*account.key, covered))
        return tuple(charges)

    def release(self) -> None:
        """The call came to nothing: gives all back."""
        self._is_over = True
        for term, amount in zip(self._terms, self._amounts, strict=True):
            term.account.settle(amount, 0)

    def _extend(self, wanted: int, safe: int, now_us: int) -> list[Shortage]:
        """Covers as much of `wanted` as our hands have, asks for the rest, and says why any is lacking.

        The least that is asked for makes the stream `safe` again: less would only put off its end, at the
        cost of its margin.
        """
        fits = wanted
        for term, held in zip(self._terms, self._amounts, strict=True):
            if term.is_budget and term.per_completion and not term.account.is_gone:
                room = held + term.account.available - term.amount(self._prompt, 0)
                fits = min(fits, max(0, room // term.per_completion))
        self._reshape(fits, now_us)
        if fits >= wanted:
            return []
        short = []
        few_tokens = self._choices * MARGIN_TOKENS + max(0, safe - self.covered)
        for term in self._plan.budgets:
            account = term.account
            lacks = (wanted - self.covered) * term.per_completion - account.available
            if lacks > 0 and not account.is_gone:
                few = min(lacks, few_tokens * term.per_completion)
                reason = account.shortage(account.available + few, now_us)
                short.append(reason)
                if reason is Shortage.UNKNOWN:
                    account.await_grant(self._go_on, lacks)
                    self._desk.ask(account, few, lacks)
        return short

    def _go_on(self) -> None:
        """Something of what was asked for has come."""
        if not self._is_over:
            self._cover(self._desk.now_us())

    def _reshape(self, covered: int, now_us: int) -> None:
        """Changes what is held to the true prompt and `covered` tokens, as far as our hands allow."""
        for place, term in enumerate(self._terms):
            if term.is_budget and not term.account.is_gone:
                change = term.amount(self._prompt, covered) - self._amounts[place]
                change = min(change, term.account.available)
                term.account.change(change, now_us)
                self._amounts[place] += change
        self.covered = covered
