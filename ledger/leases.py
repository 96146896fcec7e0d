"""Leases in the database: granting, returning, and what becomes of them when their holder is gone.

The only writer of what is leased, beside ledger/posting.py, which moves it to what is used. The arithmetic is
`ledger.balance`'s and `ledger.gcra`'s; here are the rows it works on, locked while it does: on SQLite the
transaction is the one writer, on PostgreSQL rows are locked in the order of their key, by postings too, so
that no two ever wait for each other.

Rules:

- One `exchange` is one transaction: returns first, then grants, for any number of limits.
- A balance that has no row yet has nothing used: posting makes rows as well.
- What a holder has is in `lease`, so that it can be taken from the dead: slots after SLOTS_LOST_S without a
  heartbeat, consumables after LEASES_LOST_S, since records of theirs may still wait in a journal.
- Who lacks something takes it from the dead in its own exchange, so no limit waits for `expire`. That is the
  background worker's, for what nobody lacks: it hands out nothing that an exchange would not, and without it
  balances would show what nobody has, and rows of workers that never come back would grow for ever.
- A soft rate, or soft slots, that could not be granted leave an event, one a minute; soft consumables are
  posting's to note.
- Units of a rate are not kept there: what is not used is given back within its life, or refills by itself.
"""

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from ledger import lease_rows as rows
from ledger.balance import Balance
from ledger.direct import Connection
from ledger.gcra import MINUTE_US
from ledger.ids import new_id
from ledger.lease_rows import Holder, Lease
from ledger.lease_terms import BalanceKey, Exchanged, Grant, Return, Wish
from ledger.limits import Limit, LimitKind, LimitNature

HEARTBEAT_S: Final = 3.0
SLOTS_LOST_S: Final = 10.0
LEASES_LOST_S: Final = 600.0
"""Longer than a poster needs to catch up after a crash of its host that the host survives."""

_SLOTS_LOST_US: Final = int(SLOTS_LOST_S * 1_000_000)
_LEASES_LOST_US: Final = int(LEASES_LOST_S * 1_000_000)


class HolderUnknown(Exception):
    """The holder has been given up for dead, and its leases returned: register anew."""


async def register(connection: Connection, host: str, worker: int, now_us: int) -> str:
    """Makes a holder; its id."""
    holder_id = new_id("holder_")
    await rows.register(connection, holder_id, host, worker, now_us)
    return holder_id


async def exchange(
    connection: Connection,
    holder_id: str,
    wishes: Sequence[Wish],
    returns: Sequence[Return],
    now_us: int,
    turn: int,
) -> Exchanged:
    """Takes returns and grants wishes, in one transaction that the caller commits. Raises HolderUnknown.

    `now_us` is the caller's clock: on PostgreSQL the server's own goes before it, since many hosts share it.
    `turn` counts the holder's exchanges: one that was committed, but whose answer was lost, is asked for
    again under its number, and then nothing goes back twice, and what it granted is told
    (`Exchanged.is_repeated`).
    """
    taken_us = await rows.take_turn(connection, holder_id, turn, now_us)
    if taken_us is None:
        seen_us = await _seen(connection, holder_id, now_us)
        before = await rows.granted_in(connection, holder_id, turn)
        return Exchanged((), seen_us, is_repeated=True, granted_before=before)
    now_us = taken_us
    if not wishes and not returns:
        return Exchanged((), now_us)
    counter = await _Counter.open(connection, holder_id, wishes, returns, now_us)
    for item in returns:
        counter.take_back(item)
    order = sorted(range(len(wishes)), key=lambda place: wishes[place].key)
    grants = {place: counter.grant(wishes[place]) for place in order}
    refused = [place for place in order if grants[place].granted < wishes[place].least]
    held = [place for place in refused if counter.is_held(wishes[place].key)]
    if held and await counter.reclaim([wishes[place].key for place in held]):
        grants |= {place: counter.grant(wishes[place]) for place in held}
    await counter.write(turn)
    soft = counter.missed(wishes[place] for place in refused if grants[place].granted < wishes[place].least)
    await rows.note_reached(connection, soft, now_us)
    return Exchanged(tuple(grants[place] for place in range(len(wishes))), now_us)


class Expired(NamedTuple):
    """What one `expire` did. `forgotten` are the holders of which nothing is left; `is_all`: nobody else was
    dead.
    """

    leases: int
    forgotten: list[Holder]
    is_all: bool


async def expire(connection: Connection, now_us: int, most: int) -> Expired:
    """Takes slots and leases from holders whose heartbeat stopped, from `most` of them in one transaction
    that the caller commits, and forgets who has lost everything: it is unknown if it comes back.
    """
    now_us = await rows.now(connection, now_us)
    dead = await rows.dead(connection, now_us - _SLOTS_LOST_US, now_us - _LEASES_LOST_US, most)
    if not dead:
        return Expired(0, [], is_all=True)
    forgotten = [holder for holder in dead if _is_lost(holder.seen_us, now_us)]
    gone = {holder.id for holder in forgotten}
    lost = [
        lease
        for lease, kind in await rows.leases_of(connection, [holder.id for holder in dead])
        if kind == LimitKind.CONCURRENT or lease.holder_id in gone
    ]
    locked = await rows.lock_balances(connection, {lease.key for lease in lost})
    dropped = await rows.drop_leases(connection, lost)
    await _give_back(connection, dropped, locked)
    await rows.drop_holders(connection, gone)
    return Expired(len(dropped), forgotten, is_all=len(dead) < most)


def _is_lost(seen_us: int, now_us: int) -> bool:
    return seen_us < now_us - _LEASES_LOST_US


async def _seen(connection: Connection, holder_id: str, now_us: int) -> int:
    seen_us = await rows.see(connection, holder_id, now_us)
    if seen_us is None:
        raise HolderUnknown(f"holder {holder_id} has been given up for dead")
    return seen_us


async def _give_back(connection: Connection, leases: Sequence[Lease], locked: Container[BalanceKey]) -> None:
    """Off the balances; a lease of a limit that was removed has none."""
    amounts = rows.totals(leases)
    await rows.give_back(connection, {key: amount for key, amount in amounts.items() if key in locked})


@dataclass(slots=True)
class _Account:
    """A balance that is being worked on, and what the holder has of it."""

    balance: Balance
    held: int
    leased_before: int
    held_before: int
    granted: int = 0


class _Counter:
    """One exchange: the rows of every limit in it, locked, and what becomes of them."""

    def __init__(self, connection: Connection, holder_id: str, now_us: int) -> None:
        """Empty: see `open`."""
        self._connection = connection
        self._holder_id = holder_id
        self._now_us = now_us
        self._limits: dict[str, Limit] = {}
        self._accounts: dict[BalanceKey, _Account] = {}
        self._tats: dict[str, int] = {}
        self._tats_before: dict[str, int] = {}

    @classmethod
    async def open(
        cls,
        connection: Connection,
        holder_id: str,
        wishes: Sequence[Wish],
        returns: Sequence[Return],
        now_us: int,
    ) -> "_Counter":
        """Read and lock what the wishes and returns are about."""
        counter = cls(connection, holder_id, now_us)
        wished = {wish.key for wish in wishes}
        keys = wished | {item.key for item in returns}
        counter._limits, lacking = await rows.look(connection, keys)
        kept = {key for key in keys if key.limit_id in counter._limits and not counter._is_rate(key)}
        await rows.make_balances(connection, (key for key in lacking if key in kept and key in wished))
        balances = await rows.lock_balances(connection, kept)
        counter._tats = await rows.lock_rates(
            connection, {key.limit_id for key in keys - kept if key.limit_id in counter._limits}
        )
        counter._tats_before = dict(counter._tats)
        held = await rows.held(connection, ((holder_id, key) for key in balances))
        for key, (used, leased) in balances.items():
            has = held.get((holder_id, key), 0)
            balance = Balance(counter._limits[key.limit_id].max_value, used, leased)
            counter._accounts[key] = _Account(balance, has, leased, has)
        return counter

    def take_back(self, item: Return) -> None:
        """Nothing goes back to a limit that is gone, nor more than the holder has."""
        if item.key.limit_id in self._tats:
            rate, tat_us = self._limits[item.key.limit_id].rate, self._tats[item.key.limit_id]
            self._tats[item.key.limit_id] = (
                rate.given_back(tat_us, item.amount)
                if item.amount >= 0
                else rate.charged(tat_us, self._now_us, -item.amount)
            )
        elif account := self._accounts.get(item.key):
            assert item.amount >= 0, item
            taken = min(item.amount, account.held)
            account.balance = account.balance.given_back(taken)
            account.held -= taken

    def grant(self, wish: Wish) -> Grant:
        """As much of a wish as there is, at once in the rows' state here; `write` has the last word."""
        limit_id = wish.key.limit_id
        if limit_id in self._tats:
            granted, tat_us = self._limits[limit_id].rate.granted(
                self._tats[limit_id], self._now_us, wish.least, wish.most
            )
            self._tats[limit_id] = tat_us
            return Grant(granted, tat_us=tat_us)
        account = self._accounts.get(wish.key)
        if account is None:
            return Grant(wish.most)
        granted = account.balance.grant(wish.least, wish.most, wish.need)
        account.balance = account.balance.granted(granted)
        account.held += granted
        account.granted += granted
        return Grant(granted, balance=account.balance)

    def is_held(self, key: BalanceKey) -> bool:
        """Whether somebody dead may have what a wish lacks."""
        return key in self._accounts

    def missed(self, wishes: Iterable[Wish]) -> list[tuple[BalanceKey, int]]:
        """The soft limits among refused wishes, and what is used of each: once a minute, where a balance has
        no window.
        """
        minute_us = self._now_us - self._now_us % MINUTE_US
        return [
            (BalanceKey(wish.key.limit_id, wish.key.end_user, minute_us), self._used(wish.key))
            for wish in wishes
            if wish.key.limit_id in self._limits and self._limits[wish.key.limit_id].soft
        ]

    async def reclaim(self, keys: Sequence[BalanceKey]) -> bool:
        """Take back what holders without a heartbeat have of these balances; whether there was any."""
        silent = await rows.silent(self._connection, self._now_us - _SLOTS_LOST_US, but=self._holder_id)
        if not silent:
            return False
        lost = [
            lease
            for lease in await rows.leases_on(self._connection, sorted(set(keys)))
            if lease.holder_id in silent and self._may_take(lease.key, silent[lease.holder_id])
        ]
        for lease in await rows.drop_leases(self._connection, lost):
            account = self._accounts[lease.key]
            account.balance = account.balance.given_back(lease.held)
        # Who lost money or tokens must not believe, when it comes back, that it still has them.
        await rows.give_up(
            self._connection,
            {lease.holder_id for lease in lost if _is_lost(silent[lease.holder_id], self._now_us)},
        )
        return bool(lost)

    async def write(self, turn: int) -> None:
        """Into the rows. The statement that grants is conditional: the database itself is the last guard."""
        changed = {
            key: account
            for key, account in self._accounts.items()
            if account.balance.leased != account.leased_before
        }
        await rows.grant(
            self._connection,
            [
                (key, account.balance.leased - account.leased_before, account.balance.max_value)
                for key, account in changed.items()
            ],
        )
        await rows.set_leases(
            self._connection,
            (
                Lease(self._holder_id, key, account.held)
                for key, account in self._accounts.items()
                if account.held != account.held_before and not account.granted
            ),
        )
        await rows.add_to_leases(
            self._connection,
            (
                (Lease(self._holder_id, key, account.held), account.granted)
                for key, account in self._accounts.items()
                if account.granted
            ),
            turn,
        )
        await rows.set_rates(
            self._connection,
            {
                limit_id: tat_us
                for limit_id, tat_us in self._tats.items()
                if tat_us != self._tats_before[limit_id]
            },
        )

    def _used(self, key: BalanceKey) -> int:
        """Of slots, those that are held; of a rate, all of it."""
        account = self._accounts.get(key)
        return account.balance.leased if account else self._limits[key.limit_id].max_value

    def _is_rate(self, key: BalanceKey) -> bool:
        return self._limits[key.limit_id].nature is LimitNature.RATE

    def _may_take(self, key: BalanceKey, seen_us: int) -> bool:
        is_slots = self._limits[key.limit_id].nature is LimitNature.SLOTS
        return is_slots or _is_lost(seen_us, self._now_us)
