"""The throttle of logins, on both databases: what it holds back, and whom it never does."""

import asyncio

import pytest
from sqlalchemy import text

from ledger import login_throttle
from ledger.database import Database
from ledger.errors import TooManyAttempts
from ledger.login_throttle import OF_ADDRESS, OF_DEVICE, OF_EMAIL, OF_EMAIL_HERE, Bucket, buckets
from tests.people import NOON_US, PEPPER

SECOND_US = 1_000_000


async def attempt(
    database: Database, email: str, address: str, device: str | None = None, now_us: int = NOON_US
) -> bool:
    """Whether a failing attempt is let through to the password."""
    try:
        async with database.write() as session:
            await login_throttle.take(session, buckets(PEPPER, email, address, device), now_us)
    except TooManyAttempts:
        return False
    return True


async def fill(database: Database, tries: list[tuple[str, str]]) -> list[bool]:
    """Failing attempts of e-mail addresses from addresses, in one transaction, which is quicker."""
    allowed = []
    async with database.write() as session:
        for email, address in tries:
            try:
                await login_throttle.take(session, buckets(PEPPER, email, address, None), NOON_US)
            except TooManyAttempts:
                allowed.append(False)
            else:
                allowed.append(True)
    return allowed


async def count(database: Database) -> int:
    async with database.read() as session:
        return int((await session.execute(text("SELECT count(*) FROM login_rate"))).scalar_one())


async def test_one_address_gets_a_few_guesses_at_one_user_and_then_one_a_minute(database: Database) -> None:
    """Guards against a password that is guessed in an evening."""
    allowed = [await attempt(database, "ann@example.com", "192.0.2.1") for _ in range(9)]
    assert allowed == [True] * OF_EMAIL_HERE.burst + [False] * 4
    minute_us = NOON_US + 60 * SECOND_US
    with pytest.raises(TooManyAttempts) as refused:
        async with database.write() as session:
            taken = buckets(PEPPER, "ann@example.com", "192.0.2.1", None)
            await login_throttle.take(session, taken, NOON_US + SECOND_US)
    assert refused.value.wait_seconds == 59
    assert await attempt(database, "ann@example.com", "192.0.2.1", now_us=minute_us)
    assert not await attempt(database, "ann@example.com", "192.0.2.1", now_us=minute_us)


async def test_a_stranger_does_not_keep_the_user_out(database: Database) -> None:
    """Guards against a lock-out as a weapon: neither elsewhere, nor on a browser that is known."""
    while await attempt(database, "ann@example.com", "198.51.100.1"):
        pass
    assert await attempt(database, "ann@example.com", "192.0.2.1")
    # With many addresses, even elsewhere is full; never for longer than a unit takes.
    await fill(database, [("ann@example.com", f"198.51.{number}.7") for number in range(OF_EMAIL.burst)])
    assert not await attempt(database, "ann@example.com", "192.0.2.9")
    assert await attempt(database, "ann@example.com", "192.0.2.9", now_us=NOON_US + 10 * SECOND_US)
    assert await attempt(database, "ann@example.com", "192.0.2.9", "device_ann")


async def test_one_address_cannot_guess_at_everybody(database: Database) -> None:
    """Guards against one common password that is tried on every user."""
    allowed = await fill(database, [(f"user{number}@example.com", "192.0.2.1") for number in range(40)])
    assert allowed == [True] * OF_ADDRESS.burst + [False] * 10
    assert await attempt(database, "user39@example.com", "192.0.2.2")


async def test_a_customers_ipv6_network_is_one_address(database: Database) -> None:
    """Guards against somebody with 2**64 addresses, each with its own guesses; a mapped IPv4 one is IPv4."""
    allowed = await fill(database, [("ann@example.com", f"2001:db8:0:1::{number:x}") for number in range(9)])
    assert allowed.count(True) == OF_EMAIL_HERE.burst
    assert await attempt(database, "ann@example.com", "2001:db8:0:2::1")
    same = [buckets(PEPPER, "a@b", address, None) for address in ("192.0.2.1", "::ffff:192.0.2.1")]
    assert same[0] == same[1]


async def test_a_known_device_is_held_back_too(database: Database) -> None:
    """Guards against a stolen mark with which anybody may guess for ever."""
    allowed = [await attempt(database, "ann@example.com", "192.0.2.1", "device_a") for _ in range(15)]
    assert allowed.count(True) == OF_DEVICE.burst
    assert await attempt(database, "ann@example.com", "192.0.2.1", "device_b")


async def test_a_right_password_costs_nothing_and_a_refusal_takes_nothing(database: Database) -> None:
    """Guards against an office behind one address that is shut out by its own good logins."""
    taken = buckets(PEPPER, "ann@example.com", "192.0.2.1", None)
    for _ in range(3 * OF_EMAIL_HERE.burst):
        async with database.write() as session:
            await login_throttle.take(session, taken, NOON_US)
        async with database.write() as session:
            await login_throttle.give_back(session, taken)
    while await attempt(database, "ann@example.com", "192.0.2.1"):
        pass
    # Those refusals took nothing of the address: its other guesses are all there.
    allowed = await fill(database, [(f"user{number}@example.com", "192.0.2.1") for number in range(40)])
    assert allowed.count(True) == OF_ADDRESS.burst - OF_EMAIL_HERE.burst


async def test_guesses_side_by_side_are_all_counted(database: Database) -> None:
    """Guards against a burst of parallel guesses that all read the count before any has written it."""
    allowed = await asyncio.gather(
        *(attempt(database, "ann@example.com", "192.0.2.1") for _ in range(4 * OF_EMAIL_HERE.burst))
    )
    assert allowed.count(True) == OF_EMAIL_HERE.burst


async def test_the_table_is_bounded_and_tells_nobodys_name(database: Database) -> None:
    """Guards against a disk that somebody fills with e-mail addresses that are nobody's."""
    for number in range(8):
        # Each from elsewhere, and late enough that the one before is full again.
        await attempt(
            database,
            f"user{number}@example.com",
            f"198.51.100.{number}",
            now_us=NOON_US + number * 300 * SECOND_US,
        )
        assert await count(database) == 3
    async with database.read() as session:
        rows = (await session.execute(text("SELECT bucket FROM login_rate"))).scalars().all()
    assert all(len(bytes(row)) == 32 for row in rows)
    async with database.write() as session:
        assert await login_throttle.clear(session, NOON_US + 3_600 * SECOND_US * 2, at_most=1000) == len(rows)
    assert await count(database) == 0


async def test_a_bucket_that_is_in_use_is_not_cleared(database: Database) -> None:
    """Guards against a clearing that forgives."""
    for _ in range(OF_EMAIL_HERE.burst):
        assert await attempt(database, "ann@example.com", "192.0.2.1")
    async with database.write() as session:
        assert await login_throttle.clear(session, NOON_US, at_most=1000) == 0
    assert not await attempt(database, "ann@example.com", "192.0.2.1")


def test_all_attempts_lock_rows_in_one_order() -> None:
    """Guards against two attempts that wait for each other."""
    taken: list[Bucket] = buckets(PEPPER, "ann@example.com", "192.0.2.1", None)
    assert [one.id for one in taken] == sorted(one.id for one in taken)
    assert len(taken) == 3
