"""Balances as tests look at them: what a key is, what is used and leased of it, and that both add up."""

from itertools import count

from sqlalchemy import text

from ledger import leases
from ledger.database import Database
from ledger.lease_terms import BalanceKey
from ledger.limits import Limit, LimitKind
from tests.records import NOON_US

turns = count(1)
"""Numbers for exchanges, each above the last, whoever's they are."""


def key_of(limit: Limit) -> BalanceKey:
    """The balance that NOON_US is in."""
    return BalanceKey(limit.id, "", 0 if limit.kind is LimitKind.CONCURRENT else limit.span(NOON_US)[0])


async def register(database: Database, worker: int = 0) -> str:
    """A new holder."""
    async with database.write() as session:
        return await leases.register(await session.connection(), "host", worker, NOON_US)


async def balance_of(database: Database, key: BalanceKey) -> tuple[int, int]:
    """What is used and leased, and that what is leased is what holders have."""
    where = "WHERE limit_id = :limit_id AND end_user = :end_user AND window_us = :window_us"
    async with database.read() as session:
        row = (
            await session.execute(text(f"SELECT used, leased FROM limit_balance {where}"), key._asdict())
        ).one_or_none()
        held = (
            await session.execute(text(f"SELECT coalesce(sum(held), 0) FROM lease {where}"), key._asdict())
        ).scalar_one()
    used, leased = (0, 0) if row is None else (int(row[0]), int(row[1]))
    assert leased == int(held)
    return used, leased
