"""How often logins may be tried: counted in the database, so that it holds for all processes together.

An attempt takes a unit of each of its buckets before the password is looked at, all or none, and gets them
back if the password was right: only failures count, however many are tried at once. A bucket is one integer
of time (ledger/gcra.py); one that is full again says nothing and is deleted.

| bucket | at once | then one every | whose attempts |
|---|---|---|---|
| an address | 30 | 10 s | all from it: guessing many users' passwords |
| an e-mail address from an address | 5 | 60 s | one user's, from one place |
| an e-mail address | 100 | 10 s | one user's, from many places |
| a known device | 10 | 30 s | one user's, from a browser that has logged in as that user before |

A known device takes of its own bucket alone, whatever others do. So a stranger cannot keep somebody out: not
at all where they have logged in before; elsewhere only with many addresses, and never for more than
10 seconds at a time, for whoever comes next gets the next unit. An IPv6 network of 64 bits, which is one
customer's, counts as one address.

The table is bounded: a row stands for an attempt of the last 17 minutes, an attempt costs a hash (of which
two at a time are made), and each attempt clears more expired rows away than it adds. Rows hold digests:
nobody reads there who tried.
"""

from dataclasses import dataclass
from ipaddress import IPv6Address, ip_network
from typing import Final

from sqlalchemy import delete, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from ledger import tokens
from ledger.errors import TooManyAttempts
from ledger.gcra import Rate
from ledger.networks import parse_address
from ledger.tables.people import LoginRate
from ledger.tokens import Purpose

OF_ADDRESS: Final = Rate(per_minute=6, burst=30)
OF_EMAIL_HERE: Final = Rate(per_minute=1, burst=5)
OF_EMAIL: Final = Rate(per_minute=6, burst=100)
OF_DEVICE: Final = Rate(per_minute=2, burst=10)
CLEARED_AT_ONCE: Final = 10
"""Expired rows that an attempt clears away; it adds three at most."""
_IPV6_PREFIX: Final = 64


@dataclass(frozen=True, slots=True)
class Bucket:
    """What an attempt takes a unit of."""

    id: bytes
    rate: Rate


def buckets(pepper: bytes, email: str, address: str | None, device: str | None) -> list[Bucket]:
    """Those of an attempt to log in with this e-mail address, in the one order in which rows are locked.

    `device`: the id of a browser that is known to have logged in as this user.
    """
    place = _place(address)
    if device is not None:
        wanted = [(f"device {device} {email}", OF_DEVICE)]
    else:
        wanted = [
            (f"address {place}", OF_ADDRESS),
            (f"here {email} {place}", OF_EMAIL_HERE),
            (f"email {email}", OF_EMAIL),
        ]
    made = [Bucket(tokens.digest(pepper, Purpose.DEVICE, name), rate) for name, rate in wanted]
    return sorted(made, key=lambda bucket: bucket.id)


async def take(session: AsyncSession, wanted: list[Bucket], now_us: int) -> None:
    """Take a unit of each, in a transaction of its own. Raises TooManyAttempts, and takes none then."""
    insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    rows = insert(LoginRate).values([{"bucket": bucket.id, "tat_us": now_us} for bucket in wanted])
    held = rows.on_conflict_do_update(index_elements=["bucket"], set_={"tat_us": col(LoginRate.tat_us)})
    answer = await session.execute(held.returning(col(LoginRate.bucket), col(LoginRate.tat_us)))
    found = {bytes(bucket): tat_us for bucket, tat_us in answer}
    free_us = max(bucket.rate.free_at(found[bucket.id], now_us, 1) for bucket in wanted)
    if free_us > now_us:
        raise TooManyAttempts(free_us - now_us)
    for bucket in wanted:
        await _move(session, bucket, bucket.rate.granted(found[bucket.id], now_us, 1, 1)[1])
    # At the end: whoever clears waits for no row any more.
    await clear(session, now_us, at_most=CLEARED_AT_ONCE)


async def give_back(session: AsyncSession, taken: list[Bucket]) -> None:
    """The attempt was no guess."""
    for bucket in taken:
        await _move(session, bucket, col(LoginRate.tat_us) + bucket.rate.given_back(0, 1))


async def clear(session: AsyncSession, now_us: int, *, at_most: int) -> int:
    """Deletes buckets that are full again; how many."""
    full = select(col(LoginRate.bucket)).where(col(LoginRate.tat_us) < now_us).limit(at_most)
    if session.get_bind().dialect.name == "postgresql":
        full = full.with_for_update(skip_locked=True)
    cleared = await session.execute(delete(LoginRate).where(col(LoginRate.bucket).in_(full)))
    return int(cleared.rowcount)  # type: ignore[attr-defined]


async def _move(session: AsyncSession, bucket: Bucket, tat_us: object) -> None:
    await session.execute(update(LoginRate).where(col(LoginRate.bucket) == bucket.id).values(tat_us=tat_us))


def _place(address: str | None) -> str:
    """An address as it is counted."""
    parsed = None if address is None else parse_address(address)
    if isinstance(parsed, IPv6Address):
        return str(ip_network((parsed, _IPV6_PREFIX), strict=False))
    return str(parsed)
