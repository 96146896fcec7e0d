"""How much of limits is left, for people and for their programs. Reads only."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ledger import lease_rows
from ledger.balance import Balance
from ledger.direct import Connection
from ledger.given import Statement
from ledger.limits import EACH_USER, FOREVER_US, Limit, LimitNature

STANDINGS_MAX: Final = 1000
"""End users of one limit, those who used most: a page for people, not a report."""

_TATS: Final = Statement(
    "SELECT r.limit_id, r.tat_us FROM {given} JOIN limit_rate AS r ON r.limit_id = given.limit_id",
    {"limit_id": "varchar"},
)
_WINDOW: Final = {"limit_id": "varchar", "window_us": "bigint"}
_BALANCES: Final = Statement(
    "SELECT b.limit_id, b.used, b.leased FROM {given} JOIN limit_balance AS b"
    " ON b.limit_id = given.limit_id AND b.window_us = given.window_us AND b.end_user = ''",
    _WINDOW,
)
_USERS: Final = Statement(
    "SELECT b.end_user, b.used, b.leased FROM {given} JOIN limit_balance AS b"
    " ON b.limit_id = given.limit_id AND b.window_us = given.window_us"
    " ORDER BY b.used DESC, b.end_user LIMIT {0}",
    _WINDOW,
    further=1,
)


@dataclass(frozen=True, slots=True)
class LimitStanding:
    """A limit and one of its balances, of the window that is running. Slots and consumables: `used`,
    `leased`, `remaining` in the limit's unit; of a rate, `remaining` is what may pass at once now.

    `end_user`: whose, where each has one. `resets_us`: when the window ends; None where none does.
    """

    limit: Limit
    end_user: str
    used: int
    leased: int
    remaining: int
    resets_us: int | None


async def standings(connection: Connection, limits: Sequence[Limit], now_us: int) -> list[LimitStanding]:
    """How much of each limit is left now, in their order; of a limit of each user, one for every user who
    used it in the running window (the STANDINGS_MAX who used most).

    `remaining`: of a consumable, what is not used yet; of slots, what nobody holds.
    """
    found: list[LimitStanding] = []
    tats = await _tats(connection, limits)
    ledger_us = await lease_rows.now(connection, now_us) if tats else now_us
    single = await _balances(connection, limits, now_us)
    for limit in limits:
        until_us = limit.span(now_us)[1]
        resets_us = None if until_us == FOREVER_US else until_us
        if limit.nature is LimitNature.RATE:
            remaining = limit.rate.free(tats.get(limit.id, 0), ledger_us)
            found.append(LimitStanding(limit, "", 0, 0, remaining, None))
            continue
        if limit.end_user == EACH_USER:
            balances = await _users(connection, limit, now_us)
        else:
            balances = [("", *single.get(limit.id, (0, 0)))]
        for end_user, used, leased in balances:
            balance = Balance(limit.max_value, used, leased)
            remaining = balance.free if limit.nature is LimitNature.SLOTS else balance.unspent
            found.append(LimitStanding(limit, end_user, used, leased, remaining, resets_us))
    return found


async def _tats(connection: Connection, limits: Sequence[Limit]) -> dict[str, int]:
    rates = [(limit.id,) for limit in limits if limit.nature is LimitNature.RATE]
    return (
        {limit_id: int(tat_us) for limit_id, tat_us in await _TATS.read(connection, rates)} if rates else {}
    )


async def _balances(
    connection: Connection, limits: Sequence[Limit], now_us: int
) -> dict[str, tuple[int, int]]:
    """What is used and leased in the running window of limits that have one balance."""
    windows = [
        (limit.id, limit.span(now_us)[0])
        for limit in limits
        if limit.nature is not LimitNature.RATE and limit.end_user != EACH_USER
    ]
    rows = await _BALANCES.read(connection, windows) if windows else []
    return {limit_id: (int(used), int(leased)) for limit_id, used, leased in rows}


async def _users(connection: Connection, limit: Limit, now_us: int) -> list[tuple[str, int, int]]:
    """Each user's balance of the running window: who used most comes first."""
    rows = await _USERS.read(connection, [(limit.id, limit.span(now_us)[0])], STANDINGS_MAX)
    return [(end_user, int(used), int(leased)) for end_user, used, leased in rows]
