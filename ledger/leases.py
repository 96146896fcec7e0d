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
- Units of a rate are not kept there: what is not used is given back within its life, or refills by itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from sqlalchemy.ext.asyncio import AsyncSession

from ledger.balance import Balance

HEARTBEAT_S: Final = 3.0
SLOTS_LOST_S: Final = 10.0
LEASES_LOST_S: Final = 600.0
"""Longer than a poster needs to catch up after a crash of its host that the host survives."""


class BalanceKey(NamedTuple):
    """Which balance: `end_user` is "" where users have none of their own, `window_us` 0 where there is no
    window.
    """

    limit_id: str
    end_user: str
    window_us: int


class Wish(NamedTuple):
    """What a holder asks for: at least `least` or nothing, and no more than `most`."""

    key: BalanceKey
    least: int
    most: int


class Return(NamedTuple):
    """What a holder gives back. Of a rate it may be negative: units that were used without a grant."""

    key: BalanceKey
    amount: int


@dataclass(frozen=True, slots=True)
class Grant:
    """The answer to one wish.

    `balance` is after the grant, of a consumable or slots; of a rate, `tat_us` is; neither of a limit that
    is there no more.
    """

    granted: int
    balance: Balance | None = None
    tat_us: int | None = None

    @property
    def is_gone(self) -> bool:
        """Whether the limit has been removed."""
        return self.balance is None and self.tat_us is None


@dataclass(frozen=True, slots=True)
class Exchanged:
    """The answers in the order of the wishes; `now_us` is the ledger's clock, `tat_us` is by it."""

    grants: tuple[Grant, ...]
    now_us: int


class HolderUnknown(Exception):
    """The holder has been given up for dead, and its leases returned: register anew."""


async def register(session: AsyncSession, host: str, worker: int, now_us: int) -> str:
    """Makes a holder; its id."""
    raise NotImplementedError


async def heartbeat(session: AsyncSession, holder_id: str, now_us: int) -> None:
    """Says that the holder lives. Raises HolderUnknown."""
    raise NotImplementedError


async def exchange(
    session: AsyncSession,
    holder_id: str,
    wishes: Sequence[Wish],
    returns: Sequence[Return],
    now_us: int,
) -> Exchanged:
    """Takes returns and grants wishes, in one transaction that the caller commits. Raises HolderUnknown.

    `now_us` is the caller's clock: on PostgreSQL the server's own goes before it, since many hosts share it.
    """
    raise NotImplementedError


async def end_holder(session: AsyncSession, holder_id: str) -> None:
    """Gives back all that a holder has, and forgets it. For posting, at a HolderEnded; twice is once."""
    raise NotImplementedError


async def expire(session: AsyncSession, now_us: int) -> int:
    """Takes slots and leases from holders whose heartbeat stopped; how many leases went back."""
    raise NotImplementedError
