"""May this call go on? Every reason to refuse one before an engine sees it, but for the key itself.

Owns the one all-or-nothing step against this worker's allowances: no I/O where they suffice, one exchange
with the ledger where they do not. Rules:

- A call that cannot have all that it needs takes nothing.
- What was refused is refused again without asking, until it can change.
- An unstreamed call holds the most that it can cost; a stream holds a block and grows (`proxy.hold`).
- While the ledger does not answer, what our hands do not cover is refused, or, where the tenant fails open,
  admitted: but for what the ledger's last word says is used up.
- Near the edge of a budget the engine tells the prompt's exact length, and the answer is capped to what is
  left. Only what is used up is `insufficient_quota`; what other calls hold may come back, and says so.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from ledger.limits import Limit, LimitNature
from ledger.principal import Principal
from ledger.states import OutagePolicy
from proxy import bounds, limit_errors
from proxy.allowances import Account, Shortage
from proxy.backends import Backends
from proxy.call import Call, capped
from proxy.eager import in_task
from proxy.errors import ApiError, EngineUnavailable, LedgerUnavailable, Stopping, model_unknown
from proxy.headers import lines
from proxy.hold import BLOCK_TOKENS, MARGIN_TOKENS, Hold
from proxy.leasing import LeaseDesk, LeasesUnknown
from proxy.plans import Need, Plan, PlanBook, Term
from proxy.ratelimit_headers import RateStanding, rate_limit_headers

ROUNDS_MAX: Final = 16
"""How often a call goes to the ledger before it is told to come again: others may take what it was given."""

LIKELY_TOKENS: Final = 256
"""What an answer without `max_tokens` takes of a rate at first."""

BYTES_PER_TOKEN: Final = 3
"""What a prompt's bytes take of a rate at first."""

FIRST_TOKENS: Final = 2 * MARGIN_TOKENS
"""Each choice of a stream begins with at least so many."""

SOON_TOKENS: Final = 8 * BLOCK_TOKENS
"""What a stream that the ledger is asked for brings along of each budget, for each choice, where there is
plenty: five seconds of a fast one.
"""

LASTING_US: Final = 5_000_000
"""A failed exchange is made up for with the next; when they fail for so long, it is said."""

TOLD_US: Final = 1_000
"""How long the headers of a plan are told again: less than a call takes, so that who calls one by one sees
each of them counted.
"""

SLOT_RETRY_US: Final = 500_000
"""When to come again for a slot: nobody knows which running call will end first."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What holding a call to its limits takes. `count_prompt(call)` asks an engine; None: it cannot tell."""

    desk: LeaseDesk
    plans: PlanBook
    count_prompt: Callable[[Call], Awaitable[int | None]]
    currency: str
    on_refusal: Callable[[Limit], None]
    on_alone: Callable[[], None] = lambda: None
    """A call was admitted without the ledger."""


class Admission:
    """Admits calls.

    `has_room()` tells whether the journal can take more; `is_priced(model, tenant_id)` whether a price is
    in force now.
    """

    def __init__(
        self,
        backends: Backends,
        limits: Limits,
        *,
        has_room: Callable[[], bool],
        is_priced: Callable[[str, str], bool],
        refuse_unpriced: bool,
    ) -> None:
        self._backends: Final = backends
        self._limits: Final = limits
        self._has_room: Final = has_room
        self._is_priced: Final = is_priced
        self._refuse_unpriced: Final = refuse_unpriced
        self.stopping = False
        self._closed = False

    def stop(self) -> None:
        """Says that no more connections are taken; what comes on those there are is still admitted."""
        self.stopping = True

    def close(self) -> None:
        """Admits nothing any more."""
        self._closed = True

    @property
    def ungranted_since_us(self) -> int:
        """Since when the ledger grants no leases, where that lasts; 0 while it does."""
        desk = self._limits.desk
        since_us = desk.away_since_us
        return since_us if since_us and desk.now_us() - since_us > LASTING_US else 0

    def check(self, principal: Principal, call: Call) -> None:
        """All but the limits. Raises the ApiError that says why not."""
        if self._closed:
            raise Stopping("This server is shutting down. Try again.")
        if not self._has_room():
            raise LedgerUnavailable("The journal is full: no call is taken that could not be recorded.")
        if not principal.may_call(call.model):
            raise model_unknown(call.model)
        if not self._backends.known(call.model):
            if not self._backends.any_healthy():
                raise EngineUnavailable("No engine answers at the moment. Try again.")
            raise model_unknown(call.model)
        if self._refuse_unpriced and not self._is_priced(call.model, principal.tenant_id):
            raise model_unknown(call.model)

    def plan(self, principal: Principal, call: Call, at_us: int) -> Plan | None:
        """The limits of a call that starts at `at_us`; None where there are none."""
        if not principal.limits:
            return None
        return self._limits.plans.plan(principal, call.model, call.end_user, at_us)

    def take(self, plan: Plan, call: Call, body_bytes: int) -> Hold | None:
        """Takes hold of what the call needs out of our own hands; None where they have too little."""
        return self._taking(plan, call, body_bytes).take()

    async def obtain(self, plan: Plan, call: Call, body_bytes: int) -> tuple[Call, Hold]:
        """The same with the ledger's help; the call may come back with its answer capped.

        Where the ledger does not answer, the tenant's policy decides. Raises RateLimited, QuotaExhausted,
        LedgerUnavailable.
        """
        await in_task()
        taking = self._taking(plan, call, body_bytes)
        for _ in range(ROUNDS_MAX):
            if (hold := taking.take()) is not None:
                return taking.call, hold
            refused = taking.refusal()
            if refused is not None:
                if not refused[0].is_budget:
                    raise self._error(taking, *refused)
                if not taking.is_exact and taking.hopeless() is None:
                    taking.know_prompt(await self._limits.count_prompt(call))
                if (term := taking.hopeless()) is not None:
                    raise self._error(taking, term, Shortage.EXHAUSTED)
                if (term := taking.fit()) is not None and taking.is_fresh(term):
                    raise self._error(taking, term, Shortage.BUSY)
            try:
                await self._limits.desk.fetch(taking.wishes())
            except LeasesUnknown as error:
                if plan.principal.outage_policy is OutagePolicy.FAIL_OPEN:
                    return self._admit_alone(taking)
                raise LedgerUnavailable("The limits cannot be checked at the moment. Try again.") from error
        if (hold := taking.take()) is not None:
            return taking.call, hold
        term = next(iter(taking.short()), plan.hard[0])
        raise self._error(taking, term, Shortage.BUSY)

    def _admit_alone(self, taking: "_Taking") -> tuple[Call, Hold]:
        """Without the ledger. Raises RateLimited, QuotaExhausted where we know enough to refuse."""
        if (term := taking.hopeless()) is not None:
            raise self._error(taking, term, Shortage.EXHAUSTED)
        hold = taking.take_alone()
        if isinstance(hold, Term):
            raise self._error(taking, hold, Shortage.BUSY)
        self._limits.on_alone()
        return taking.call, hold

    def headers(self, plan: Plan) -> bytes:
        """The lines of headers that tell the app how much it may still do, as it was at most TOLD_US ago."""
        now_us = self._limits.desk.now_us()
        if not 0 <= now_us - plan.told_us < TOLD_US:
            requests, tokens = _standing(plan.requests, now_us), _standing(plan.tokens, now_us)
            plan.told = lines(rate_limit_headers(requests, tokens))
            plan.told_us = now_us
        return plan.told

    def _taking(self, plan: Plan, call: Call, body_bytes: int) -> "_Taking":
        context_tokens = self._backends.context_tokens(call.model)
        return _Taking(self._limits.desk, plan, call, body_bytes, context_tokens)

    def _error(self, taking: "_Taking", term: Term, reason: Shortage) -> ApiError:
        """What the client is told of the limit that stands in the way."""
        now_us = self._limits.desk.now_us()
        self._limits.on_refusal(term.limit)
        account, limit, model = term.account, term.limit, taking.call.model
        requested = term.first_amount(taking.need)
        if account.nature is LimitNature.RATE:
            wait_us = account.tell_retry_us(requested, now_us) - now_us
            used = max(0, limit.max_value - account.remaining(now_us))
            return limit_errors.rate_limited(limit, model, used, requested, max(1000, wait_us))
        if account.nature is LimitNature.SLOTS:
            return limit_errors.rate_limited(limit, model, account.used, requested, SLOT_RETRY_US)
        if reason is Shortage.EXHAUSTED:
            used = account.balance.used if account.balance else 0
            return limit_errors.quota_exhausted(limit, used, self._limits.currency, account.until_us, now_us)
        balance = account.balance
        used, held = (balance.used, balance.leased) if balance else (0, 0)
        return limit_errors.busy(limit, used, held, self._limits.currency)


def _standing(term: Term | None, now_us: int) -> RateStanding | None:
    if term is None:
        return None
    account = term.account
    return RateStanding(term.limit.max_value, account.remaining(now_us), account.reset_us(now_us))


class _Taking:
    """One call on its way to its hold: what it needs, first by bounds, then exactly."""

    __slots__ = (
        "_context_tokens",
        "_desk",
        "_first",
        "_now_us",
        "_plan",
        "_wanted",
        "call",
        "is_exact",
        "need",
    )

    def __init__(
        self, desk: LeaseDesk, plan: Plan, call: Call, body_bytes: int, context_tokens: int | None
    ) -> None:
        self._desk = desk
        self._plan = plan
        self._now_us = 0
        self._context_tokens = context_tokens
        self.call = call
        self.is_exact = False
        self.need = Need()
        self._first = self._wanted = 0
        if plan.counts_tokens:
            prompt = bounds.prompt_tokens_max(call, body_bytes, context_tokens)
            self._know(prompt, 0)
            if plan.guesses_tokens:
                likely = self._wanted if bounds.is_bounded(call) else LIKELY_TOKENS * call.choices
                self.need.likely_prompt_tokens = -(-prompt // BYTES_PER_TOKEN)
                self.need.likely_completion_tokens = min(self._wanted, likely)

    def _know(self, prompt: int, prompt_min: int) -> None:
        """The bounds that follow from the prompt's length: at most `prompt`, at least `prompt_min`."""
        self._wanted = bounds.completion_tokens_max(self.call, prompt_min, self._context_tokens)
        choices, is_stream = self.call.choices, self.call.stream
        first = min(self._wanted, choices * (BLOCK_TOKENS + MARGIN_TOKENS)) if is_stream else self._wanted
        self._first = first
        self.need.prompt_tokens = prompt
        self.need.completion_tokens = first

    @property
    def _least(self) -> int:
        """The shortest answer that is worth its beginning."""
        call = self.call
        return min(self._wanted, call.choices * (FIRST_TOKENS if call.stream else 1))

    def know_prompt(self, tokens: int | None) -> None:
        """The engine has told the prompt's length, or cannot."""
        self.is_exact = True
        if tokens is not None:  # an answer that is capped has to fit into the context, too
            prompt = min(tokens, self.need.prompt_tokens)
            self._know(prompt, prompt)

    def short(self) -> Sequence[Term]:
        """The terms that our hands have too little for."""
        self._now_us = self._desk.now_us()
        need = self.need
        return [
            term
            for term in self._plan.hard
            if not term.account.can_take(term.first_amount(need), self._now_us)
        ]

    def take(self) -> Hold | None:
        """All or nothing."""
        now_us = self._now_us = self._desk.now_us()
        if now_us > self._desk.lost_us:  # this process stood still, and no tick has come yet
            self._desk.lose()
        need, terms = self.need, self._plan.hard
        amounts = []
        for term in terms:
            amount = term.base if term.is_flat else term.first_amount(need)
            account = term.account
            has_it = account.available >= amount and now_us <= account.expires_us
            if not has_it and not account.can_take(amount, now_us):
                return None
            amounts.append(amount)
        if self._plan.soft:
            terms = self._with_soft(amounts, now_us)
        for term, amount in zip(terms, amounts, strict=True):
            term.account.take(amount, now_us)
        return self._holding(terms, amounts)

    def _with_soft(self, amounts: list[int], now_us: int) -> tuple[Term, ...]:
        """The hard terms, and the soft ones that have what the call needs: adds their amounts."""
        need, terms = self.need, list(self._plan.hard)
        for term in self._plan.soft:
            amount = term.first_amount(need)
            if term.account.can_take(amount, now_us):
                terms.append(term)
                amounts.append(amount)
            elif term.account.shortage(amount, now_us) is Shortage.UNKNOWN:
                self._desk.ask(term.account, amount, amount)
        return tuple(terms)

    def take_alone(self) -> Hold | Term:
        """All or nothing without the ledger, out of our hands where they suffice; the term that forbids
        it. For a need that is not hopeless.
        """
        now_us, need = self._desk.now_us(), self.need
        need.completion_tokens = self._first
        if self.is_exact:  # no single answer is larger than what the ledger last said to be unspent
            for term in self._plan.budgets:
                if term.per_completion and term.account.balance:
                    room = term.account.balance.unspent - term.amount(need.prompt_tokens, 0)
                    need.completion_tokens = min(need.completion_tokens, room // term.per_completion)
        terms = self._plan.hard
        amounts = [term.first_amount(need) for term in terms]
        alone = [
            not term.account.can_take(amount, now_us) for term, amount in zip(terms, amounts, strict=True)
        ]
        for term, amount, is_alone in zip(terms, amounts, alone, strict=True):
            if is_alone and not term.account.may_go_alone(amount, now_us):
                return term
        for term, amount, is_alone in zip(terms, amounts, alone, strict=True):
            if is_alone:
                term.account.go_alone(amount, now_us)
            else:
                term.account.take(amount, now_us)
        return self._holding(terms, amounts)

    def _holding(self, terms: tuple[Term, ...], amounts: list[int]) -> Hold:
        """The hold of what was taken; the desk looks at its accounts from now on."""
        for term in terms:
            if not term.account.is_watched:
                self._desk.watch(term.account)
        hold = Hold(self._desk, self._plan, terms, amounts)
        if self.call.stream or self.is_exact:
            self._finish(hold)
        return hold

    def _finish(self, hold: Hold) -> None:
        """What the engine is told, and how the hold goes on."""
        need, call = self.need, self.call
        most = self._wanted
        if call.stream:
            if self.is_exact and need.completion_tokens < self._first:
                most = need.completion_tokens  # too little to end the stream in time: the engine ends it
            elif self.is_exact:
                for term in self._plan.budgets:
                    if term.per_completion and term.account.balance:
                        room = term.account.balance.unspent - term.amount(need.prompt_tokens, 0)
                        most = min(most, max(need.completion_tokens, room // term.per_completion))
            hold.follow(need.prompt_tokens, need.completion_tokens, most, call.choices)
        elif self.is_exact:
            most = need.completion_tokens
        if most < self._wanted:
            self.call = capped(call, most)

    def refusal(self) -> tuple[Term, Shortage] | None:
        """A term that cannot be met, the most final first; None while the ledger has to be asked."""
        need, now_us = self.need, self._now_us
        reasons = [(term, term.account.shortage(term.first_amount(need), now_us)) for term in self.short()]
        for reason in (Shortage.EXHAUSTED, Shortage.SOON, Shortage.BUSY):
            found = [term for term, why in reasons if why is reason]
            if found:
                return max(found, key=lambda term: term.account.retry_us), reason
        return None

    def hopeless(self) -> Term | None:
        """A budget whose unspent rest is too little for even the least answer, if there is one."""
        prompt = self.need.prompt_tokens if self.is_exact else 1
        for term in self._plan.budgets:
            balance = term.account.balance  # of a limit that is gone there is none
            if balance is not None and term.amount(prompt, self._least) > balance.unspent:
                return term
        return None

    def fit(self) -> Term | None:
        """Makes the need as small as what is left by what we know; the budget that is too little for any
        answer, if one is: then the need is for the least.
        """
        need = self.need
        fits = self._first
        need.completion_tokens = self._least
        for term in self._plan.budgets:
            if term.account.is_gone:
                continue
            room = term.account.remaining(self._now_us) - term.amount(need.prompt_tokens, 0)
            if term.per_completion:
                fits = min(fits, room // term.per_completion)
            if room < 0 or fits < self._least:
                return term
        need.completion_tokens = fits
        return None

    def is_fresh(self, term: Term) -> bool:
        """Whether the ledger has just been asked."""
        return self._now_us < term.account.retry_us

    def wishes(self) -> list[tuple[Account, int, int]]:
        """What to ask the ledger for: what lacks, and what is ahead for a stream: its first seconds are more
        than its first hold, and demand knows nothing of them yet.
        """
        wishes = []
        soon = self.call.choices * SOON_TOKENS if self.call.stream else 0
        for term in self.short():
            least = term.first_amount(self.need) - term.account.available
            wishes.append(
                (term.account, least, least + (soon * term.per_completion if term.is_budget else 0))
            )
        return wishes
