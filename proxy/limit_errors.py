"""What a caller is told when a limit stops a call: which limit, its size, what is used, when it can go on.

Pure. Owns the words; `proxy.errors` owns the shape. Three cases, and an app does something else in each:

- `rate_limited`: a rate by the minute or the calls in flight; it passes by itself, soon.
- `busy`: a budget that is not used up, but held by calls in flight; it may pass when they end.
- `quota_exhausted`: used up until its window ends, or until somebody raises it; trying again is of no use.

A message names the scope (this API key, this project, this organization), never another one's id.
"""

from typing import Final

from ledger.limits import EACH_USER, Limit, LimitKind, LimitNature, LimitWindow
from ledger.money import format_picos
from ledger.periods import from_us
from proxy.errors import QuotaExhausted, RateLimited
from proxy.ratelimit_headers import go_duration

BUSY_US: Final = 1_000_000
"""When to try again where nobody knows which running call will end first."""

_SCOPES: Final = {"key": "this API key", "project": "this project", "tenant": "this organization"}
_PER_MINUTE: Final = {LimitKind.REQUESTS: "requests per min (RPM)", LimitKind.TOKENS: "tokens per min (TPM)"}
_PERIODS: Final = {LimitWindow.DAY: " a day", LimitWindow.MONTH: " a month", LimitWindow.LIFETIME: ""}
_NAME_CHARS_MAX: Final = 200


def rate_limited(limit: Limit, model: str, used: int, requested: int, retry_after_us: int) -> RateLimited:
    """A rate or the slots are taken. `retry_after_us`: when what was asked for fits, if nobody else comes."""
    numbers = f"Limit {limit.max_value}, Used {used}, Requested {requested}."
    again = f"Please try again in {_shown(retry_after_us)}."
    if limit.nature is LimitNature.SLOTS:
        on_model = "" if limit.model is None else f" on `{_name(limit.model)}`"
        message = f"Too many calls in flight for {_SCOPES[limit.scope]}{on_model}: {numbers} {again}"
    else:
        of = _PER_MINUTE[limit.kind]
        message = (
            f"Rate limit reached for `{_name(model)}` on {of} for {_SCOPES[limit.scope]}: {numbers} {again}"
        )
    return RateLimited(message, type=_type(limit), retry_after_us=retry_after_us)


def busy(limit: Limit, used: int, held: int, currency: str, retry_after_us: int = BUSY_US) -> RateLimited:
    """What is left of a budget or quota is held by calls in flight: it comes back, or is used, when they
    end.
    """
    numbers = ", ".join(
        f"{word} {_amount(limit, amount, currency)}"
        for word, amount in (("Limit", limit.max_value), ("Used", used), ("Held", held))
    )
    message = (
        f"What is left of the limit on {_what(limit)} is held by calls in flight: {numbers}. "
        f"Please try again in {_shown(retry_after_us)}."
    )
    return RateLimited(message, type=_type(limit), retry_after_us=retry_after_us)


def quota_exhausted(
    limit: Limit, used: int, currency: str, resets_us: int | None, now_us: int
) -> QuotaExhausted:
    """A budget or quota is used up. `resets_us`: when its window ends; None, or the end of all time, of a
    lifetime.
    """
    period = "" if limit.window is None else _PERIODS[limit.window]
    if resets_us is None or limit.window is LimitWindow.LIFETIME:
        when = "It does not reset."
    else:
        at = from_us(-(-resets_us // 1_000_000) * 1_000_000).strftime("%Y-%m-%dT%H:%M:%SZ")
        when = f"It resets at {at}, in {_whole_seconds(resets_us - now_us)}."
    return QuotaExhausted(
        f"You exceeded your current quota: the limit on {_what(limit)} is "
        f"{_amount(limit, limit.max_value, currency)}{period}, used {_amount(limit, used, currency)}. {when}"
    )


def _what(limit: Limit) -> str:
    """Such as "spend on `m` for each end user of this project"."""
    words = [str(limit.kind)]
    if limit.model is not None:
        words.append(f"with `{_name(limit.model)}`")
    if limit.end_user == EACH_USER:
        words.append("for each end user of")
    elif limit.end_user is not None:
        words.append("for this end user of")
    else:
        words.append("for")
    return " ".join([*words, _SCOPES[limit.scope]])


def _amount(limit: Limit, amount: int, currency: str) -> str:
    if limit.kind is LimitKind.SPEND:
        return f"{format_picos(amount)} {currency}"
    return f"{amount} {limit.kind}"


def _type(limit: Limit) -> str:
    return "tokens" if limit.kind is LimitKind.TOKENS else "requests"


def _name(model: str) -> str:
    return model[:_NAME_CHARS_MAX]


def _shown(duration_us: int) -> str:
    """What `retry-after-ms` says: never less than a millisecond."""
    return go_duration(max(1, duration_us)).decode()


def _whole_seconds(duration_us: int) -> str:
    return go_duration(max(1, -(-duration_us // 1_000_000)) * 1_000_000).decode()
