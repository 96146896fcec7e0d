"""What is used of every limit, added up from the rows and compared with its balance.

A limit counts what started in its window, whenever it was set; one of end users, and every limit in windows
that had ended when it was set, counts only what was *posted* after it was set. Rows know by the poster's
clock when they were posted, a limit by somebody else's when it was set: what was posted within CLOCKS_US of
that may count or not, and between the two bounds any `used` is right.

Rows come hour by hour, oldest first. A window's balances are compared once its last hour has been seen, and
forgotten: memory is bounded by the windows that are open at a time. Balances of limits that were removed mean
nothing any more and are left alone, and so are those of windows long past (ledger/past_windows.py).
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, NamedTuple

from sqlalchemy import Select, func, literal, or_, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from ledger import lease_rows
from ledger.given import Statement
from ledger.lease_terms import BalanceKey
from ledger.limits import FOREVER_US, Limit, LimitWindow
from ledger.moves import Use, amount_of
from ledger.past_windows import is_past, kept_from_us
from ledger.periods import HOUR_US, iso
from ledger.reports import ExactSum
from ledger.tables import Table
from ledger.verification.findings import Check, Findings
from ledger.verification.hours import ROWS, Group, Rated, Sums, within

CLOCKS_US: Final = 60_000_000
"""How far two hosts' clocks may differ, a posting's wait for its lock included."""

AT_ONCE: Final = 1000  # balances compared by one statement

_BALANCES: Final = Table.metadata.tables["limit_balance"]
_LIMITS: Final = Table.metadata.tables["usage_limit"]
_KNOWN: Final = Statement(
    "SELECT b.limit_id, b.end_user, b.window_us, b.used FROM {given} JOIN limit_balance AS b"
    " ON b.limit_id = given.limit_id AND b.end_user = given.end_user AND b.window_us = given.window_us",
    {"limit_id": "varchar", "end_user": "varchar", "window_us": "bigint"},
)


class Spent(NamedTuple):
    """What calls with the same limits used in an hour, and when the first and the last of them was posted."""

    tenant_id: str
    project_id: str
    api_key_id: str
    model: str
    end_user: str
    use: Use
    posted_us: tuple[int, int]


@dataclass(slots=True)
class _Bounds:
    """What may be used of a balance: every figure from `least` to `most` is right."""

    until_us: int
    least: int = 0
    most: int = 0


class Balances:
    """The consumable limits there are, and what the rows seen so far used of them."""

    def __init__(
        self, limits: Iterable[tuple[Limit, int]], span: tuple[int, int] | None, now_us: int
    ) -> None:
        """`limits` with the time each was set; `span`: only windows that lie in it."""
        self._now_us = now_us + CLOCKS_US
        self._limits: dict[str, tuple[Limit, int]] = {}
        self._scopes: dict[tuple[str, str | None, str | None], list[Limit]] = defaultdict(list)
        self._span = span
        self._open: dict[BalanceKey, _Bounds] = {}
        self._matched = 0
        self._blind_until_us = 0
        for limit, set_us in limits:
            self._limits[limit.id] = limit, set_us
            self._scopes[limit.tenant_id, limit.project_id, limit.api_key_id].append(limit)
        self.tenants_of_users = sorted(
            {limit.tenant_id for limit, _ in self._limits.values() if limit.end_user}
        )

    def add(self, hour_us: int, spent: Iterable[Spent]) -> None:
        """What rows of an hour used: of all calls together, and again for each end user."""
        for part in spent:
            tenant_id, project_id, api_key_id, model, end_user, *_ = part
            for scope in (
                (tenant_id, None, None),
                (tenant_id, project_id, None),
                (tenant_id, project_id, api_key_id),
            ):
                for limit in self._scopes.get(scope, ()):
                    if (limit.end_user is not None) == bool(end_user) and limit.applies(
                        tenant_id, project_id, api_key_id, model, end_user
                    ):
                        self._count(limit, hour_us, part)

    def add_detached(self, hour_us: int, spent: Iterable[Spent]) -> None:
        """What an hour's sums say where its rows are kept elsewhere: end users are not in them."""
        self._blind_until_us = hour_us + HOUR_US
        self.add(hour_us, spent)

    async def compare(self, session: AsyncSession, findings: Findings, before_us: int = FOREVER_US) -> None:
        """Compare and forget the balances of windows that end before this hour; by default, all."""
        connection = await session.connection()
        done = iter(sorted(key for key, bounds in self._open.items() if bounds.until_us <= before_us))
        while keys := list(islice(done, AT_ONCE)):
            known = {
                BalanceKey(limit_id, end_user, int(window_us)): int(used)
                for limit_id, end_user, window_us, used in await _KNOWN.read(connection, list(keys))
            }
            for key in keys:
                bounds = self._open.pop(key)
                if not self._is_blind(key):
                    self._judge(findings, key, bounds, known.get(key), lease_rows.used_max(connection))

    async def compare_rest(self, session: AsyncSession, findings: Findings) -> None:
        """Balances that say something is used where no row is. After everything has been compared."""
        assert not self._open
        count = self._kept(select(func.count()).where(_BALANCES.c.used != 0))
        lacking = int((await session.execute(count)).scalar_one()) - self._matched
        if lacking <= 0:
            return
        result = findings[Check.BALANCES]
        result.looked_at += lacking
        result.faults += lacking
        # Which they are costs a look for each balance, so this comes only once there are some.
        key = tuple_(_BALANCES.c.limit_id, _BALANCES.c.window_us, _BALANCES.c.end_user)
        first = self._kept(select(_BALANCES).where(_BALANCES.c.used != 0)).order_by(*key).limit(AT_ONCE)
        page = first
        while found := (await session.execute(page)).all():
            for row in found:
                balance = BalanceKey(row.limit_id, row.end_user, int(row.window_us))
                if not await self._has_rows(session, balance):
                    lacking -= 1
                    result.show(shown(balance), f"its balance says {int(row.used)}, and it has no row")
                if not lacking or not result.room:
                    return
            last = found[-1]
            page = first.where(key > tuple_(last.limit_id, last.window_us, last.end_user))

    def _count(self, limit: Limit, hour_us: int, part: Spent) -> None:
        from_us, until_us = limit.span(hour_us)
        if is_past(from_us, self._now_us):
            return
        if self._span is not None and not (self._span[0] <= from_us and until_us <= self._span[1]):
            return
        amount = least = amount_of(limit.kind, part.use)
        if (set_us := self._posted_after_us(limit, from_us)) is not None:
            if part.posted_us[1] < set_us - CLOCKS_US:
                return
            if part.posted_us[0] < set_us + CLOCKS_US:
                least = 0
        key = BalanceKey(limit.id, limit.user_key(part.end_user), from_us)
        bounds = self._open.setdefault(key, _Bounds(until_us))
        bounds.least += least
        bounds.most += amount

    def _posted_after_us(self, limit: Limit, window_us: int) -> int | None:
        """When the limit was set, where only what was posted since counts in this window."""
        set_us = self._limits[limit.id][1]
        return set_us if limit.end_user is not None or window_us < limit.span(set_us)[0] else None

    def _is_blind(self, key: BalanceKey) -> bool:
        return self._limits[key.limit_id][0].end_user is not None and key.window_us < self._blind_until_us

    def _judge(
        self, findings: Findings, key: BalanceKey, bounds: _Bounds, used: int | None, used_max: int
    ) -> None:
        result = findings[Check.BALANCES]
        result.looked_at += 1
        self._matched += bool(used)
        least, most = min(bounds.least, used_max), min(bounds.most, used_max)
        if not least <= (used or 0) <= most:
            right = str(most) if least == most else f"from {least} to {most}"
            there = "it has no balance" if used is None else f"its balance says {used}"
            result.add(shown(key), f"{there}, its rows used {right}")

    def _kept(self, query: Select[Any]) -> Select[Any]:
        """Balances of consumable limits that there are, whose windows are looked at."""
        query = query.select_from(_BALANCES.join(_LIMITS, _LIMITS.c.id == _BALANCES.c.limit_id)).where(
            _LIMITS.c.window != LimitWindow.MINUTE,
            or_(_LIMITS.c.end_user.is_(None), _BALANCES.c.window_us >= self._blind_until_us),
            or_(_BALANCES.c.window_us == 0, _BALANCES.c.window_us >= kept_from_us(self._now_us)),
        )
        if self._span is not None:
            query = query.where(_LIMITS.c.window != LimitWindow.LIFETIME)
            query = within(query, _BALANCES.c.window_us, *self._span)
        return query

    async def _has_rows(self, session: AsyncSession, key: BalanceKey) -> bool:
        """Whether any row can have counted in a balance."""
        limit, _ = self._limits[key.limit_id]
        query = select(literal(1)).where(ROWS.c.tenant_id == limit.tenant_id).limit(1)
        for name in ("project_id", "api_key_id", "model"):
            if (value := getattr(limit, name)) is not None:
                query = query.where(ROWS.c[name] == value)
        if limit.end_user is not None:
            query = query.where(ROWS.c.end_user == (key.end_user or limit.end_user))
        if (set_us := self._posted_after_us(limit, key.window_us)) is not None:
            query = query.where(ROWS.c.posted_us >= set_us - CLOCKS_US)
        query = within(query, ROWS.c.started_us, *limit.span(key.window_us))
        return (await session.execute(query)).first() is not None


def of_calls(rated: Iterable[Rated]) -> list[Spent]:
    """What the rows of an hour used, of whichever end user."""
    return [_spent(part.group, "", part.sums, part.posted_us) for part in rated]


def of_sums(sums: Mapping[Group, Sums]) -> list[Spent]:
    """What the sums of an hour say, posted nobody knows when."""
    return [_spent(group, "", part, (0, FOREVER_US)) for group, part in sums.items()]


async def of_users(session: AsyncSession, hour_us: int, tenants: list[str]) -> list[Spent]:
    """What each end user of these tenants used in an hour."""
    keys = [ROWS.c[name] for name in ("tenant_id", "project_id", "api_key_id", "model", "end_user")]
    query = (
        select(
            *keys,
            func.count(),
            ExactSum(ROWS.c.prompt_tokens),
            ExactSum(ROWS.c.completion_tokens),
            ExactSum(ROWS.c.amount_picos),
            func.min(ROWS.c.posted_us),
            func.max(ROWS.c.posted_us),
        )
        .where(ROWS.c.end_user != "", ROWS.c.tenant_id.in_(tenants))
        .group_by(*keys)
    )
    query = within(query, ROWS.c.started_us, hour_us, hour_us + HOUR_US)
    found: Sequence[Any] = (await session.execute(query)).all()
    return [
        Spent._make((*row[:5], Use(int(row[5]), row[6] + row[7], row[8]), (int(row[9]), int(row[10]))))
        for row in found
    ]


def shown(key: BalanceKey) -> str:
    """Which balance, for people: the limit, its window, and whose."""
    window = f" from {iso(key.window_us)[:10]}" if key.window_us else ""
    return f"{key.limit_id}{window}{f' of end user {key.end_user!r}' if key.end_user else ''}"


def _spent(group: Group, end_user: str, sums: Sums, posted_us: tuple[int, int]) -> Spent:
    use = Use(sums.calls, sums.prompt_tokens + sums.completion_tokens, sums.amount_picos)
    return Spent(group.tenant_id, group.project_id, group.api_key_id, group.model, end_user, use, posted_us)
