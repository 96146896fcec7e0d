"""Which limits a call must pass, and what it takes of each.

Owns the way from a principal's limits to the accounts of this worker: worked out once for each key, model and
end user, and kept until a window ends, a price changes or the principal is read anew. Rules:

- What a call takes of a limit is linear in its tokens: a base, and so much for each of the prompt and of the
  completion.
- A soft limit of a window needs no lease: posting counts it. A soft rate, or soft slots, are taken where they
  can be; a refusal is the ledger's to note, and stops nobody.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ledger.limits import Limit, LimitKind, LimitNature
from ledger.money import PICOS_PER_MICRO, Rates, rate
from ledger.principal import Principal
from ledger.usage import Usage
from proxy.allowances import Account

PLANS_MAX: Final = 20_000


@dataclass(slots=True)
class Need:
    """How many tokens a call takes hold of at its start, and how many it will likely have."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    likely_prompt_tokens: int = 0
    likely_completion_tokens: int = 0


class Term:
    """What calls of one plan take of one account."""

    __slots__ = (
        "_is_spend",
        "account",
        "base",
        "is_budget",
        "is_flat",
        "limit",
        "per_completion",
        "per_prompt",
        "rates",
    )

    def __init__(self, account: Account, rates: Rates | None) -> None:
        self.account: Final = account
        self.limit: Final = account.limit
        self.rates: Final = rates
        self._is_spend: Final = self.limit.kind is LimitKind.SPEND
        self.base = self.per_prompt = self.per_completion = 0
        if self.limit.kind is LimitKind.TOKENS:
            self.per_prompt = self.per_completion = 1
        elif self.limit.kind is not LimitKind.SPEND:
            self.base = 1
        elif rates is not None:
            self.base = rates.request_micros * PICOS_PER_MICRO
            self.per_prompt = max(rates.input_micros_per_mtok, rates.cached_input_micros_per_mtok)
            self.per_completion = rates.output_micros_per_mtok
        self.is_flat: Final = not self.counts_tokens
        """Whether every call takes and uses `base`."""
        self.is_budget: Final = self.counts_tokens and account.nature is LimitNature.CONSUMABLE
        """Whether it can run out in the middle of an answer."""

    def amount(self, prompt_tokens: int, completion_tokens: int) -> int:
        """What to hold for so many tokens: an upper bound, since cached ones may cost less."""
        return self.base + prompt_tokens * self.per_prompt + completion_tokens * self.per_completion

    def first_amount(self, need: "Need") -> int:
        """What a call takes at its start.

        Of a rate only what is likely: it is settled exactly, and may be in debt. A call larger than the
        whole burst needs a full bucket.
        """
        if self.account.rate is None:
            tokens = need.prompt_tokens * self.per_prompt + need.completion_tokens * self.per_completion
            return self.base + tokens
        likely = self.amount(need.likely_prompt_tokens, need.likely_completion_tokens)
        return min(likely, self.account.rate.capacity)

    def actual(self, usage: Usage) -> int:
        """What a settled call has used."""
        if self.is_flat:
            return self.base
        if self._is_spend:
            return 0 if self.rates is None else rate(usage, self.rates)
        return usage.prompt_tokens + usage.completion_tokens

    @property
    def counts_tokens(self) -> bool:
        """Whether it matters how many tokens a call has."""
        return self.per_prompt > 0 or self.per_completion > 0


class Plan:
    """The limits of one key's calls of one model by one end user."""

    __slots__ = (
        "budgets",
        "counts_tokens",
        "guesses_tokens",
        "hard",
        "principal",
        "requests",
        "soft",
        "tokens",
        "told",
        "told_us",
        "until_us",
    )

    def __init__(self, principal: Principal, hard: list[Term], soft: list[Term], until_us: int) -> None:
        self.principal: Final = principal
        self.hard: Final = tuple(hard)
        self.soft: Final = tuple(soft)
        self.budgets: Final = tuple(term for term in hard if term.is_budget)
        self.counts_tokens: Final = any(term.counts_tokens for term in (*hard, *soft))
        self.guesses_tokens: Final = any(
            term.counts_tokens and term.account.nature is LimitNature.RATE for term in (*hard, *soft)
        )
        """Whether a rate counts them: what a call will likely have matters."""
        self.until_us: Final = until_us
        self.requests: Final = _shown(hard, LimitKind.REQUESTS)
        """The terms that `x-ratelimit-*-requests` and `-tokens` are about."""
        self.tokens: Final = _shown(hard, LimitKind.TOKENS)
        self.told = b""
        """What clients were told of these at `told_us`."""
        self.told_us = 0


class PlanBook:
    """Plans of this worker.

    `account_of(limit, end_user, at_us)` gives the account of a call; `rates_of(model, tenant_id, at_us)` the
    price and until when it holds.
    """

    def __init__(
        self,
        account_of: Callable[[Limit, str, int], Account],
        rates_of: Callable[[str, str, int], tuple[Rates | None, int]],
    ) -> None:
        self._account_of = account_of
        self._rates_of = rates_of
        self._plans: dict[tuple[str, str, str], Plan] = {}

    def plan(self, principal: Principal, model: str, end_user: str, at_us: int) -> Plan:
        """The plan of a call that starts at `at_us`."""
        key = (principal.api_key_id, model, end_user)
        plan = self._plans.get(key)
        if plan is not None and plan.principal is principal and at_us < plan.until_us:
            return plan
        while len(self._plans) >= PLANS_MAX:
            del self._plans[next(iter(self._plans))]
        self._plans.pop(key, None)
        plan = self._plans[key] = self._make(principal, model, end_user, at_us)
        return plan

    def forget(self) -> None:
        """Prices have changed."""
        self._plans.clear()

    def _make(self, principal: Principal, model: str, end_user: str, at_us: int) -> Plan:
        rates, until_us = self._rates_of(model, principal.tenant_id, at_us)
        hard: list[Term] = []
        soft: list[Term] = []
        for limit in principal.limits:
            if not _concerns(limit, principal, model, end_user):
                continue
            account = self._account_of(limit, end_user, at_us)
            until_us = min(until_us, account.until_us)
            (soft if limit.soft else hard).append(Term(account, rates))
        return Plan(principal, hard, soft, until_us)


def _concerns(limit: Limit, principal: Principal, model: str, end_user: str) -> bool:
    if limit.soft and limit.nature is LimitNature.CONSUMABLE:
        return False
    return limit.applies(principal.tenant_id, principal.project_id, principal.api_key_id, model, end_user)


def _shown(terms: list[Term], kind: LimitKind) -> Term | None:
    """Of one kind, the limit by the minute if there is one, and the lowest of them."""
    of_kind = [term for term in terms if term.limit.kind is kind]
    return min(
        of_kind,
        key=lambda term: (term.account.nature is not LimitNature.RATE, term.limit.max_value),
        default=None,
    )
