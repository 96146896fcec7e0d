"""The rows of leases: balances, rates, holders, and who has what of them. No decisions: those are
ledger/leases.py's and ledger/moves.py's.

The order in which rows are locked is one for all, so that no two transactions ever wait for each other in a
ring: usage and its rollups, the holder, balances in the order of their key, rates in the order of theirs. A
lease is touched only by who has its balance locked. Balances that lack are made before any is locked.
"""

# ruff: noqa: S608 (the columns are our own constants: nothing from outside is in these texts)

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from ledger.direct import Connection
from ledger.given import Statement
from ledger.lease_terms import BalanceKey
from ledger.limit_rows import limit_of, selected
from ledger.limits import Limit


class Lease(NamedTuple):
    """What a holder has of a balance."""

    holder_id: str
    key: BalanceKey
    held: int


class Holder(NamedTuple):
    """Who has leases. `seen_us`: when it was last heard of; 0: it was told that it is unknown."""

    id: str
    host: str
    worker: int
    seen_us: int


_ID: Final = {"id": "varchar"}
_KEY: Final = {"limit_id": "varchar", "end_user": "varchar", "window_us": "bigint"}
_LEASE: Final = {"holder_id": "varchar", **_KEY}


def _same(alias: str) -> str:
    return " AND ".join(f"{alias}.{name} = given.{name}" for name in _KEY)


_NOW: Final = "CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS bigint)"
_REGISTER: Final = "INSERT INTO lease_holder (id, host, worker, started_us, seen_us) VALUES "
_SEE: Final = "UPDATE lease_holder SET seen_us = {now} WHERE id = {id} AND seen_us > 0 RETURNING seen_us"
_TAKE_TURN: Final = (
    "UPDATE lease_holder SET seen_us = {now}, turn = {turn}"
    " WHERE id = {id} AND seen_us > 0 AND turn < {turn} RETURNING seen_us"
)
_SILENT: Final = "SELECT id, seen_us FROM lease_holder WHERE seen_us < {before} AND id <> {id}"
_DEAD: Final = (
    "SELECT h.id, h.host, h.worker, h.seen_us FROM lease_holder AS h WHERE h.seen_us < {lost}"
    " OR (h.seen_us < {slots_lost} AND EXISTS (SELECT 1 FROM lease JOIN usage_limit AS l"
    " ON l.id = lease.limit_id WHERE lease.holder_id = h.id AND l.kind = 'concurrent'))"
    " ORDER BY h.id LIMIT {most}"
)

_LOOK: Final = Statement(
    f"SELECT given.limit_id, given.end_user, given.window_us, b.limit_id IS NULL, {selected('l')}"
    " FROM {given} JOIN usage_limit AS l ON l.id = given.limit_id"
    f" LEFT JOIN limit_balance AS b ON {_same('b')}",
    _KEY,
)
_MAKE: Final = Statement(
    "INSERT INTO limit_balance (limit_id, end_user, window_us, used, leased)"
    " SELECT limit_id, end_user, window_us, 0, 0 FROM {given} WHERE true"
    " ORDER BY limit_id, end_user, window_us ON CONFLICT DO NOTHING",
    _KEY,
)
_LOCK: Final = Statement(
    "SELECT b.limit_id, b.end_user, b.window_us, b.used, b.leased"
    f" FROM {{given}} JOIN limit_balance AS b ON {_same('b')}"
    " ORDER BY b.limit_id, b.end_user, b.window_us",
    _KEY,
    lock=" FOR UPDATE OF b",
)
_LOCK_RATES: Final = Statement(
    "SELECT r.limit_id, r.tat_us FROM {given} JOIN limit_rate AS r ON r.limit_id = given.id"
    " ORDER BY r.limit_id",
    _ID,
    lock=" FOR UPDATE OF r",
)
_HELD: Final = Statement(
    "SELECT lease.holder_id, lease.limit_id, lease.end_user, lease.window_us, lease.held"
    f" FROM {{given}} JOIN lease ON lease.holder_id = given.holder_id AND {_same('lease')}",
    _LEASE,
)
_LEASES_ON: Final = Statement(
    "SELECT lease.holder_id, lease.limit_id, lease.end_user, lease.window_us, lease.held"
    f" FROM {{given}} JOIN lease ON {_same('lease')}",
    _KEY,
)
_LEASES_OF: Final = Statement(
    "SELECT lease.holder_id, lease.limit_id, lease.end_user, lease.window_us, lease.held, l.kind"
    " FROM {given} JOIN lease ON lease.holder_id = given.id"
    " LEFT JOIN usage_limit AS l ON l.id = lease.limit_id",
    _ID,
)
_GRANT: Final = Statement(
    "UPDATE limit_balance AS b SET leased = b.leased + given.change FROM {given}"
    f" WHERE {_same('b')} AND b.leased + given.change >= 0"
    " AND (given.change <= 0 OR b.used + b.leased + given.change <= given.max_value) RETURNING 1",
    {**_KEY, "change": "numeric", "max_value": "numeric"},
)
_GIVE_BACK: Final = Statement(
    "UPDATE limit_balance AS b SET leased = b.leased - given.amount FROM {given}"
    f" WHERE {_same('b')} AND b.leased >= given.amount RETURNING 1",
    {**_KEY, "amount": "numeric"},
)
_POST: Final = Statement(
    # A sum past what the column holds stays there: it is far past every limit.
    "UPDATE limit_balance AS b SET leased = b.leased - given.taken,"
    " used = CASE WHEN b.used > {0} - given.used THEN {0} ELSE b.used + given.used END FROM {given}"
    f" WHERE {_same('b')} AND b.leased >= given.taken RETURNING 1",
    {**_KEY, "used": "numeric", "taken": "numeric"},
    further=1,
)
_NOTE: Final = Statement(
    "INSERT INTO limit_event (limit_id, end_user, window_us, at_us, used)"
    " SELECT limit_id, end_user, window_us, at_us, used FROM {given} WHERE true ON CONFLICT DO NOTHING",
    {**_KEY, "at_us": "bigint", "used": "numeric"},
)
_SET_RATES: Final = Statement(
    "UPDATE limit_rate AS r SET tat_us = given.tat_us FROM {given} WHERE r.limit_id = given.id",
    {"id": "varchar", "tat_us": "bigint"},
)
_SET_LEASES: Final = Statement(
    "INSERT INTO lease (holder_id, limit_id, end_user, window_us, held)"
    " SELECT holder_id, limit_id, end_user, window_us, held FROM {given} WHERE true"
    " ON CONFLICT (holder_id, limit_id, end_user, window_us) DO UPDATE SET held = excluded.held",
    {**_LEASE, "held": "numeric"},
)
_ADD_LEASES: Final = Statement(
    "INSERT INTO lease (holder_id, limit_id, end_user, window_us, held, granted, granted_turn)"
    " SELECT holder_id, limit_id, end_user, window_us, held, granted, granted_turn FROM {given} WHERE true"
    " ON CONFLICT (holder_id, limit_id, end_user, window_us) DO UPDATE SET"
    " held = excluded.held, granted = excluded.granted, granted_turn = excluded.granted_turn",
    {**_LEASE, "held": "numeric", "granted": "numeric", "granted_turn": "numeric"},
)
_GRANTED: Final = Statement(
    "SELECT lease.limit_id, lease.end_user, lease.window_us, lease.granted"
    " FROM {given} JOIN lease ON lease.holder_id = given.id AND lease.granted_turn = given.turn",
    {**_ID, "turn": "numeric"},
)
_DROP_LEASES: Final = Statement(
    "DELETE FROM lease WHERE (holder_id, limit_id, end_user, window_us) IN"
    " (SELECT holder_id, limit_id, end_user, window_us FROM {given})"
    " RETURNING holder_id, limit_id, end_user, window_us, held",
    _LEASE,
)
_DROP_LEASES_OF: Final = Statement(
    "DELETE FROM lease WHERE holder_id IN (SELECT id FROM {given})"
    " RETURNING holder_id, limit_id, end_user, window_us, held",
    _ID,
)
_LOCK_HOLDERS: Final = Statement(
    "SELECT h.id FROM {given} JOIN lease_holder AS h ON h.id = given.id ORDER BY h.id",
    _ID,
    lock=" FOR UPDATE OF h",
)
_DROP_HOLDERS: Final = Statement("DELETE FROM lease_holder WHERE id IN (SELECT id FROM {given})", _ID)
_GIVE_UP: Final = Statement(
    "UPDATE lease_holder SET seen_us = 0 WHERE id IN (SELECT id FROM {given})",
    _ID,
)


def _is_postgresql(connection: Connection) -> bool:
    return connection.dialect.name == "postgresql"


async def now(connection: Connection, now_us: int) -> int:
    """The ledger's clock: PostgreSQL's own, or the caller's on SQLite."""
    if _is_postgresql(connection):
        return int((await connection.exec_driver_sql(f"SELECT {_NOW}")).scalar_one())
    return now_us


async def register(connection: Connection, holder_id: str, host: str, worker: int, now_us: int) -> None:
    """Make a holder, seen by the ledger's clock."""
    if _is_postgresql(connection):
        values = (holder_id, host, worker)
        await connection.exec_driver_sql(f"{_REGISTER}($1, $2, $3, {_NOW}, {_NOW})", values)
    else:
        await connection.exec_driver_sql(
            f"{_REGISTER}(?, ?, ?, ?, ?)", (holder_id, host, worker, now_us, now_us)
        )


async def see(connection: Connection, holder_id: str, now_us: int) -> int | None:
    """The holder lives: the ledger's clock, or None when there is no such holder any more. Locks it."""
    if _is_postgresql(connection):
        result = await connection.exec_driver_sql(_SEE.format(now=_NOW, id="$1"), (holder_id,))
    else:
        result = await connection.exec_driver_sql(_SEE.format(now="?1", id="?2"), (now_us, holder_id))
    seen_us = result.scalar_one_or_none()
    return None if seen_us is None else int(seen_us)


async def take_turn(connection: Connection, holder_id: str, turn: int, now_us: int) -> int | None:
    """The holder lives and comes with its next exchange: the ledger's clock, or None where it has had that
    turn, or is no holder any more. Locks it.
    """
    if _is_postgresql(connection):
        statement = _TAKE_TURN.format(now=_NOW, id="$1", turn="CAST($2 AS numeric)")
        result = await connection.exec_driver_sql(statement, (holder_id, turn))
    else:
        statement = _TAKE_TURN.format(now="?1", id="?2", turn="?3")
        result = await connection.exec_driver_sql(statement, (now_us, holder_id, turn))
    seen_us = result.scalar_one_or_none()
    return None if seen_us is None else int(seen_us)


async def silent(connection: Connection, before_us: int, but: str = "") -> dict[str, int]:
    """Holders whose heartbeat stopped before `before_us`, and when; locked, but for those that are being
    heard just now.
    """
    if _is_postgresql(connection):
        sql = _SILENT.format(before="$1", id="$2") + " ORDER BY id FOR UPDATE SKIP LOCKED"
    else:
        sql = _SILENT.format(before="?1", id="?2")
    result = await connection.exec_driver_sql(sql, (before_us, but))
    found: list[Any] = list(result.all())
    return {holder_id: int(seen_us) for holder_id, seen_us in found}


async def dead(connection: Connection, slots_lost_us: int, lost_us: int, most: int) -> list[Holder]:
    """Holders with slots that were last heard of before `slots_lost_us`, and any before `lost_us`; locked,
    but for those that are being heard, or taken from, just now.
    """
    if _is_postgresql(connection):
        sql = _DEAD.format(slots_lost="$1", lost="$2", most="$3") + " FOR UPDATE OF h SKIP LOCKED"
    else:
        sql = _DEAD.format(slots_lost="?1", lost="?2", most="?3")
    result = await connection.exec_driver_sql(sql, (slots_lost_us, lost_us, most))
    found: list[Any] = list(result.all())
    return [Holder(holder_id, host, int(worker), int(seen_us)) for holder_id, host, worker, seen_us in found]


async def look(
    connection: Connection, keys: Iterable[BalanceKey]
) -> tuple[dict[str, Limit], list[BalanceKey]]:
    """The limits of these keys that there are, and the keys of limits that have no balance. Locks
    nothing.
    """
    limits: dict[str, Limit] = {}
    lacking: list[BalanceKey] = []
    for limit_id, end_user, window_us, lacks, *columns in await _LOOK.read(connection, list(keys)):
        limits[limit_id] = limit_of(tuple(columns))
        if lacks:
            lacking.append(BalanceKey(limit_id, end_user, window_us))
    return limits, lacking


async def make_balances(connection: Connection, keys: Iterable[BalanceKey]) -> None:
    """Balances with nothing used, where there are none. Before any is locked."""
    if ordered := sorted(keys):
        await _MAKE.change(connection, ordered)


async def lock_balances(
    connection: Connection, keys: Iterable[BalanceKey]
) -> dict[BalanceKey, tuple[int, int]]:
    """What is used and leased of each balance that there is, locked until the commit."""
    ordered = sorted(keys)
    if not ordered:
        return {}
    return {
        BalanceKey(limit_id, end_user, window_us): (int(used), int(leased))
        for limit_id, end_user, window_us, used, leased in await _LOCK.read(connection, ordered)
    }


async def lock_rates(connection: Connection, limit_ids: Iterable[str]) -> dict[str, int]:
    """`tat_us` of each rate that there is, locked until the commit."""
    ordered = sorted(limit_ids)
    if not ordered:
        return {}
    result = await _LOCK_RATES.read(connection, [(limit_id,) for limit_id in ordered])
    return {str(limit_id): int(tat_us) for limit_id, tat_us in result}


async def held(
    connection: Connection, wanted: Iterable[tuple[str, BalanceKey]]
) -> dict[tuple[str, BalanceKey], int]:
    """What holders have of balances that the caller has locked."""
    rows = [(holder_id, *key) for holder_id, key in wanted]
    if not rows:
        return {}
    return {(lease.holder_id, lease.key): lease.held for lease in _leases(await _HELD.read(connection, rows))}


async def leases_on(connection: Connection, keys: Sequence[BalanceKey]) -> list[Lease]:
    """Everybody's leases of these balances."""
    return _leases(await _LEASES_ON.read(connection, keys))


async def leases_of(connection: Connection, holder_ids: Iterable[str]) -> list[tuple[Lease, str | None]]:
    """All that holders have, each with the kind of its limit; None of a limit that is removed."""
    result = await _LEASES_OF.read(connection, [(holder_id,) for holder_id in holder_ids])
    return [(_lease(row[:-1]), row[-1]) for row in result]


async def grant(connection: Connection, changes: Sequence[tuple[BalanceKey, int, int]]) -> None:
    """Change what is leased, by (key, change, max). The database refuses what passes the maximum."""
    if changes:
        rows = [(*key, change, max_value) for key, change, max_value in changes]
        changed = await _GRANT.read(connection, rows)
        assert len(changed) == len(rows), (changed, rows)


async def give_back(connection: Connection, amounts: Mapping[BalanceKey, int]) -> None:
    """Take amounts off what is leased of balances that the caller has locked."""
    rows = [(*key, amount) for key, amount in amounts.items() if amount]
    if rows:
        changed = await _GIVE_BACK.read(connection, rows)
        assert len(changed) == len(rows), (changed, rows)


async def post(connection: Connection, changes: Mapping[BalanceKey, tuple[int, int]]) -> None:
    """Add to `used` and take off `leased`, by key, of balances that the caller has locked."""
    most = used_max(connection)
    rows = [(*key, min(used, most), taken) for key, (used, taken) in changes.items() if used or taken]
    if rows:
        changed = await _POST.read(connection, rows, most)
        assert len(changed) == len(rows), (changed, rows)


def used_max(connection: Connection) -> int:
    """What `used` can hold."""
    return 10**38 - 1 if _is_postgresql(connection) else 2**63 - 1


async def note_reached(
    connection: Connection, reached: Iterable[tuple[BalanceKey, int]], now_us: int
) -> None:
    """Keep an event for each limit that is reached, with what is used: one for each window."""
    most = used_max(connection)
    if rows := [(*key, now_us, min(used, most)) for key, used in reached]:
        await _NOTE.change(connection, rows)


async def set_rates(connection: Connection, rates: Mapping[str, int]) -> None:
    """Write `tat_us` of rates that the caller has locked."""
    if rates:
        await _SET_RATES.change(connection, list(rates.items()))


async def set_leases(connection: Connection, leases: Iterable[Lease]) -> None:
    """Write what holders have from now on; what is nothing leaves no row."""
    rows = [(lease.holder_id, *lease.key, lease.held) for lease in leases]
    if kept := [row for row in rows if row[-1]]:
        await _SET_LEASES.change(connection, kept)
    if gone := [row[:-1] for row in rows if not row[-1]]:
        await _DROP_LEASES.change(connection, gone)


async def add_to_leases(connection: Connection, grants: Iterable[tuple[Lease, int]], turn: int) -> None:
    """Write what a holder has from now on, and what of it was granted in its exchange number `turn`."""
    if rows := [(lease.holder_id, *lease.key, lease.held, granted, turn) for lease, granted in grants]:
        await _ADD_LEASES.change(connection, rows)


async def granted_in(connection: Connection, holder_id: str, turn: int) -> dict[BalanceKey, int]:
    """What the holder's exchange number `turn` granted, of leases that it still has."""
    return {
        BalanceKey(limit_id, end_user, window_us): int(granted)
        for limit_id, end_user, window_us, granted in await _GRANTED.read(connection, [(holder_id, turn)])
    }


async def drop_leases(connection: Connection, leases: Iterable[Lease]) -> list[Lease]:
    """Delete leases of balances that the caller has locked; what was in them."""
    rows = [(lease.holder_id, *lease.key) for lease in leases]
    return _leases(await _DROP_LEASES.read(connection, rows)) if rows else []


async def drop_leases_of(connection: Connection, holder_ids: Iterable[str]) -> list[Lease]:
    """Delete all leases of holders, whose balances the caller has locked; what was in them."""
    return _leases(await _DROP_LEASES_OF.read(connection, [(holder_id,) for holder_id in holder_ids]))


async def drop_holders(connection: Connection, holder_ids: Iterable[str]) -> None:
    """Forget holders: whoever comes back under such an id is unknown."""
    rows = [(holder_id,) for holder_id in sorted(holder_ids)]
    if rows:
        if _is_postgresql(connection):
            await _LOCK_HOLDERS.change(connection, rows)
        await _DROP_HOLDERS.change(connection, rows)


async def give_up(connection: Connection, holder_ids: Iterable[str]) -> None:
    """Make holders unknown that still have leases to be taken back."""
    rows = [(holder_id,) for holder_id in holder_ids]
    if rows:
        await _GIVE_UP.change(connection, rows)


def _leases(rows: Iterable[Any]) -> list[Lease]:
    return [_lease(row) for row in rows]


def _lease(row: Sequence[Any]) -> Lease:
    holder_id, limit_id, end_user, window_us, amount = row
    return Lease(holder_id, BalanceKey(limit_id, end_user, window_us), int(amount))


def totals(leases: Iterable[Lease]) -> dict[BalanceKey, int]:
    """What goes back to each balance."""
    sums: dict[BalanceKey, int] = {}
    for lease in leases:
        sums[lease.key] = sums.get(lease.key, 0) + lease.held
    return sums
