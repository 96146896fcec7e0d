"""`/v1/key`: what a key may do, and how much of its limits is left.

Owns the page's content and a cache of it: an app that polls it costs the database one read transaction a
second on each worker, whoever asks however often. The shape is OpenRouter's where that has one (`label`,
`limit`, `usage`, `limit_remaining`, `rate_limit`), so that its dashboards read ours. Must not know HTTP.

Numbers of money are units of currency, written exactly. What an end user used is not shown where every end
user has their own amount: a tenant's limit counts users of projects that this key has nothing to do with.
"""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

import msgspec

from ledger.direct import Connection
from ledger.direct_database import DirectDatabase
from ledger.errors import DatabaseFault, NotFound
from ledger.limit_rows import limits_of
from ledger.limits import EACH_USER, Limit, LimitKind, LimitWindow
from ledger.money import format_picos
from ledger.periods import from_us
from ledger.principals import Principal, ShownKey, show_key
from ledger.standings import LimitStanding, standings
from proxy.errors import KeyIncorrect, LedgerUnavailable

KEPT_US: Final = 1_000_000
KEPT_MAX: Final = 10_000
"""A page is one or two KiB; the oldest go first."""

PATIENCE_SECONDS: Final = 5.0
"""How long a request waits for the ledger."""

Document = dict[str, Any]


class KeyPage:
    """Makes the pages. `models_of(principal)` gives the ids of the models that a key may call now."""

    def __init__(
        self,
        database: DirectDatabase,
        *,
        models_of: Callable[[Principal], Sequence[str]],
        currency: str,
        now_us: Callable[[], int],
    ) -> None:
        self._database: Final = database
        self._models_of: Final = models_of
        self._currency: Final = currency
        self._now_us: Final = now_us
        self._kept: Final[dict[tuple[str, int], tuple[int, bytes]]] = {}
        self._making: Final[dict[tuple[str, int], asyncio.Task[bytes]]] = {}

    async def body(self, principal: Principal) -> bytes:
        """The page of a key, at most a second old. Raises LedgerUnavailable."""
        which = principal.api_key_id, principal.secret_id
        kept = self._kept.get(which)
        if kept is not None and 0 <= self._now_us() - kept[0] < KEPT_US:
            return kept[1]
        task = self._making.get(which)
        if task is None:
            task = asyncio.create_task(self._make(principal))
            task.add_done_callback(_heard)
            self._making[which] = task
        try:
            return await asyncio.shield(task)
        except (DatabaseFault, TimeoutError) as error:
            raise LedgerUnavailable("What is left cannot be looked up at the moment. Try again.") from error
        except NotFound as error:
            raise KeyIncorrect("The API key is no more.") from error

    async def _make(self, principal: Principal) -> bytes:
        which = principal.api_key_id, principal.secret_id
        try:
            now = self._now_us()
            async with asyncio.timeout(PATIENCE_SECONDS):
                facts = await self._database.look(partial(_facts, principal=principal, now_us=now))
            page = document(*facts, self._models_of(principal), self._currency)
            body = msgspec.json.encode(page)
        finally:
            del self._making[which]
        self._kept.pop(which, None)
        while len(self._kept) >= KEPT_MAX:
            del self._kept[next(iter(self._kept))]
        self._kept[which] = (now, body)
        return body


async def _facts(
    connection: Connection, principal: Principal, now_us: int
) -> tuple[ShownKey, Sequence[Limit], Sequence[LimitStanding]]:
    """What the ledger knows of a key and its limits, at one moment."""
    key = await show_key(connection, principal)
    limits = await limits_of(connection, principal.tenant_id, principal.project_id, principal.api_key_id)
    shared = [limit for limit in limits if limit.end_user != EACH_USER]
    return key, limits, await standings(connection, shared, now_us)


def _heard(task: asyncio.Task[bytes]) -> None:
    """A failure is no news where everybody who waited has left."""
    if not task.cancelled():
        task.exception()


def document(
    key: ShownKey,
    limits: Sequence[Limit],
    standing: Sequence[LimitStanding],
    models: Sequence[str],
    currency: str,
) -> Document:
    """The page's JSON. `standing` is of all limits but those of each end user."""
    by_limit = {one.limit.id: one for one in standing}
    budget = min(
        (one for one in standing if _holds_all(one.limit, LimitKind.SPEND)),
        key=lambda one: one.remaining,
        default=None,
    )
    rates = [
        limit.max_value
        for limit in limits
        if _holds_all(limit, LimitKind.REQUESTS) and limit.window is LimitWindow.MINUTE
    ]
    return {
        "data": {
            "label": key.redacted,
            "name": key.name,
            "limit": None if budget is None else _number(budget.limit, budget.limit.max_value),
            "usage": None if budget is None else _number(budget.limit, budget.used),
            "limit_remaining": None if budget is None else _number(budget.limit, budget.remaining),
            "limit_reset": None if budget is None else budget.limit.window,
            "is_provisioning_key": False,
            "is_free_tier": False,
            "rate_limit": {"requests": min(rates, default=None), "interval": "60s"},
            "currency": currency,
            "expires_at": _instant(key.expires_us),
            "tenant_id": key.tenant_id,
            "project_id": key.project_id,
            "key_id": key.id,
            "models": list(models),
            "limits": [_limit(limit, by_limit.get(limit.id)) for limit in limits],
        }
    }


def _holds_all(limit: Limit, kind: LimitKind) -> bool:
    """Whether it is a hard limit on every call of the key, whatever the model and the end user."""
    return limit.kind is kind and not limit.soft and limit.model is None and limit.end_user is None


def _limit(limit: Limit, standing: LimitStanding | None) -> Document:
    is_counted = standing is not None and limit.window is not LimitWindow.MINUTE
    return {
        "id": limit.id,
        "scope": limit.scope,
        "kind": limit.kind,
        "window": limit.window,
        "max": _number(limit, limit.max_value),
        "used": _number(limit, standing.used) if standing is not None and is_counted else None,
        "remaining": None if standing is None else _number(limit, standing.remaining),
        "resets_at": None if standing is None else _instant(standing.resets_us),
        "soft": limit.soft,
        "model": limit.model,
        "end_user": limit.end_user,
    }


def _number(limit: Limit, amount: int) -> int | msgspec.Raw:
    """JSON takes a number of any length: money is written out in full, never through a float."""
    return msgspec.Raw(format_picos(amount).encode()) if limit.kind is LimitKind.SPEND else amount


def _instant(at_us: int | None) -> str | None:
    return None if at_us is None else from_us(at_us).isoformat().replace("+00:00", "Z")
