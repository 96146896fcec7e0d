"""What a limit is: who it holds for, what it counts, and over which window.

Pure. The arithmetic of what is used and leased is `ledger.balance`'s (spend, tokens, requests and calls in
flight) and `ledger.gcra`'s (rates by the minute); ledger/leases.py keeps both in the database.

Three natures: a *consumable* is used up over a calendar window in UTC; a *rate* refills all the time; *slots*
are held by running calls and come back.
"""

from dataclasses import dataclass
from enum import Enum, StrEnum, auto
from typing import Final

from ledger.errors import Refused
from ledger.gcra import Rate
from ledger.periods import day_span, month_span_at

EACH_USER: Final = "*"
"""As a limit's `end_user`: every end user has an amount of their own."""

LIMIT_MAX: Final = 9 * 10**18
"""What a limit may be: 64 bits, as SQLite holds them; of money that is nine million units of currency."""

FOREVER_US: Final = 2**62


class LimitKind(StrEnum):
    """What is counted."""

    SPEND = "spend"  # in picos: 1e-12 units of currency
    TOKENS = "tokens"  # prompt and completion together
    REQUESTS = "requests"
    CONCURRENT = "concurrent"  # calls in flight


class LimitWindow(StrEnum):
    """Over what time; a calendar window in UTC, but for the minute, which is a rate. Slots have none."""

    MINUTE = "minute"
    DAY = "day"
    MONTH = "month"
    LIFETIME = "lifetime"


class LimitNature(Enum):
    """How a limit is kept."""

    CONSUMABLE = auto()
    RATE = auto()
    SLOTS = auto()


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit. The narrowest id that is set is its scope; `model` and `end_user` narrow it further.

    `max_value`: in the kind's own unit. `burst`: of a rate, how many units may pass at once after a pause.
    `soft`: nothing is refused, the event is kept. `by_tenant`: the tenant has told it itself.
    """

    id: str
    tenant_id: str
    project_id: str | None
    api_key_id: str | None
    model: str | None
    end_user: str | None
    kind: LimitKind
    window: LimitWindow | None
    max_value: int
    burst: int | None = None
    soft: bool = False
    by_tenant: bool = False

    @property
    def nature(self) -> LimitNature:
        """How it is kept."""
        if self.kind is LimitKind.CONCURRENT:
            return LimitNature.SLOTS
        return LimitNature.RATE if self.window is LimitWindow.MINUTE else LimitNature.CONSUMABLE

    @property
    def rate(self) -> Rate:
        """The rate that a limit by the minute is."""
        assert self.window is LimitWindow.MINUTE, self
        return Rate(self.max_value, self.burst if self.burst is not None else default_burst(self.max_value))

    @property
    def scope(self) -> str:
        """Whose limit it is, in one word: "tenant", "project" or "key"."""
        return "key" if self.api_key_id else "project" if self.project_id else "tenant"

    @property
    def scope_id(self) -> str:
        """The id of the tenant, project or key."""
        return self.api_key_id or self.project_id or self.tenant_id

    def applies(self, tenant_id: str, project_id: str, api_key_id: str, model: str, end_user: str) -> bool:
        """Whether a call counts against it; `end_user` is "" where the call names none."""
        return (
            self.tenant_id == tenant_id
            and self.project_id in (None, project_id)
            and self.api_key_id in (None, api_key_id)
            and self.model in (None, model)
            and (self.end_user is None or (end_user != "" and self.end_user in (EACH_USER, end_user)))
        )

    def user_key(self, end_user: str) -> str:
        """Whose balance a call of `end_user` goes to: their own where each has one, else ""."""
        return end_user if self.end_user == EACH_USER else ""

    def span(self, at_us: int) -> tuple[int, int]:
        """The window that `at_us` is in, as half-open [from_us, until_us); all time where there is none."""
        if self.window is LimitWindow.DAY:
            return day_span(at_us)
        if self.window is LimitWindow.MONTH:
            return month_span_at(at_us)
        return 0, FOREVER_US


def default_burst(per_minute: int) -> int:
    """A sixth of the rate: ten seconds' worth."""
    return max(1, per_minute // 6)


_WINDOWS: Final = {
    LimitKind.SPEND: (LimitWindow.DAY, LimitWindow.MONTH, LimitWindow.LIFETIME),
    LimitKind.TOKENS: tuple(LimitWindow),
    LimitKind.REQUESTS: tuple(LimitWindow),
    LimitKind.CONCURRENT: (),
}


def check(
    kind: LimitKind, window: LimitWindow | None, max_value: int, burst: int | None, end_user: str | None
) -> None:
    """Raises Refused, saying what does not go together."""
    allowed = _WINDOWS[kind]
    if not allowed and window is not None:
        raise Refused("a limit on calls in flight has no window")
    if allowed and window not in allowed:
        raise Refused(f"a limit on {kind} has a window: {', '.join(allowed)}")
    lowest = 1 if window is LimitWindow.MINUTE else 0
    if not lowest <= max_value <= LIMIT_MAX:
        raise Refused(f"a limit is at least {lowest} and at most nine million units of currency, or 9e18")
    if burst is not None:
        if window is not LimitWindow.MINUTE:
            raise Refused("only a limit by the minute has a burst")
        if not 1 <= burst <= max_value:
            raise Refused("a burst is at least 1 and at most the limit itself")
    if end_user is not None and (window is None or window is LimitWindow.MINUTE):
        raise Refused("a limit of end users is one of a day, a month or a lifetime")
