"""What a posting moves on the balances of limits, in the transaction that inserts the usage rows.

For each consumable limit, hard or soft, that holds for a call: what the call used is added to `used`, in the
window that the call started in. What the call was charged goes off its worker's lease and off `leased`. A
worker that has ended gives back all it has, after the records before its end. So `used` is always the sum
over the usage rows, and a duplicate, which is no new row, moves nothing. Windows long past have no balance.

Sums are made here, and balances are changed once for each batch, however many calls are in it.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from ledger import lease_rows as rows
from ledger.balance import Balance
from ledger.direct import Connection
from ledger.lease_rows import Lease
from ledger.lease_terms import BalanceKey
from ledger.limits import Limit, LimitKind, LimitWindow
from ledger.past_windows import is_past

Owner = tuple[str, str, str]
"""Whose call it is: tenant, project, key."""


class Caller(NamedTuple):
    """Calls that the same limits hold for: windows begin and end on hours."""

    tenant_id: str
    project_id: str
    api_key_id: str
    model: str
    end_user: str
    hour_us: int


class Use(NamedTuple):
    """What calls used together."""

    calls: int
    tokens: int
    amount_picos: int


async def move(
    connection: Connection,
    limits: Mapping[Owner, Sequence[Limit]],
    uses: Mapping[Caller, Use],
    charges: Mapping[tuple[str, BalanceKey], int],
    ended: Collection[str],
    now_us: int,
) -> None:
    """Move what new rows used and were charged, and give back what the holders in `ended` have.

    `limits` are the consumable ones of each owner of the calls, whatever their model and end user. `charges`
    are of holders, by their id; those on a limit that was removed are forgotten.
    """
    by_id = {limit.id: limit for of_owner in limits.values() for limit in of_owner}
    used = {key: amount for key, amount in _used(limits, uses).items() if not is_past(key.window_us, now_us)}
    charged = {
        (holder_id, key): amount for (holder_id, key), amount in charges.items() if key.limit_id in by_id
    }
    await rows.drop_holders(connection, ended)
    owned = await rows.leases_of(connection, ended) if ended else []
    await rows.make_balances(connection, used)
    balances = await rows.lock_balances(
        connection, {*used, *(key for _, key in charged), *(lease.key for lease, _ in owned)}
    )
    taken = await _take(connection, charged, balances)
    if owned:
        for key, amount in rows.totals(await rows.drop_leases_of(connection, ended)).items():
            taken[key] = taken.get(key, 0) + amount
    changes = {key: (used.get(key, 0), taken.get(key, 0)) for key in balances}
    await rows.post(connection, changes)
    reached = [
        (key, balances[key][0] + amount)
        for key, amount in used.items()
        if amount and balances[key][0] + amount >= by_id[key.limit_id].max_value
    ]
    await rows.note_reached(connection, reached, now_us)


def _used(limits: Mapping[Owner, Sequence[Limit]], uses: Mapping[Caller, Use]) -> dict[BalanceKey, int]:
    """What is to be added to each balance."""
    begins: dict[tuple[LimitWindow | None, int], int] = {}
    used: dict[BalanceKey, int] = {}
    for caller, use in uses.items():
        tenant_id, project_id, api_key_id, model, end_user, hour_us = caller
        for limit in limits[tenant_id, project_id, api_key_id]:
            if not limit.applies(tenant_id, project_id, api_key_id, model, end_user):
                continue
            if (window_us := begins.get((limit.window, hour_us))) is None:
                window_us = begins[limit.window, hour_us] = limit.span(hour_us)[0]
            key = BalanceKey(limit.id, limit.user_key(end_user), window_us)
            used[key] = used.get(key, 0) + amount_of(limit.kind, use)
    return used


def amount_of(kind: LimitKind, use: Use) -> int:
    """What a limit of this kind counts of a use, in its own unit."""
    if kind is LimitKind.SPEND:
        return use.amount_picos
    return use.tokens if kind is LimitKind.TOKENS else use.calls


async def _take(
    connection: Connection,
    charged: Mapping[tuple[str, BalanceKey], int],
    balances: Mapping[BalanceKey, tuple[int, int]],
) -> dict[BalanceKey, int]:
    """Take what was charged out of its holders' leases; what goes off each balance."""
    held = await rows.held(connection, charged)
    left: list[Lease] = []
    taken: dict[BalanceKey, int] = {}
    for (holder_id, key), has in held.items():
        used, leased = balances[key]
        before = Balance(used, used, leased - taken.get(key, 0))
        after, rest = before.posted(held=has, charged=charged[holder_id, key], actual=0)
        taken[key] = taken.get(key, 0) + before.leased - after.leased
        left.append(Lease(holder_id, key, rest))
    await rows.set_leases(connection, left)
    return taken
