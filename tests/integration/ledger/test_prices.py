"""Prices as versions, on both databases."""

import pytest

from ledger import prices, tenancy
from ledger.database import Database
from ledger.errors import NotFound, Refused
from ledger.money import PRICE_MICROS_MAX, Rates
from ledger.posting import post
from ledger.price_book import PriceBook
from ledger.terms import Terms
from tests.records import NOON_US, a_record

CHEAP = Rates(100_000, 50_000, 400_000)
DEAR = Rates(1_000_000, 500_000, 4_000_000)


async def test_a_version_holds_from_its_instant_until_the_next(database: Database) -> None:
    """Guards against a call rated at a price that was not yet, or no longer, in force."""
    book = PriceBook()
    async with database.write() as session:
        first = await prices.set_price(session, "tiny", CHEAP, 1, from_us=100)
        second = await prices.set_price(session, "tiny", DEAR, 1, from_us=200)
        await book.refresh(await session.connection())
    assert book.in_force("tiny", "org-a", 99) is None
    for at_us, expected in ((100, first), (199, first), (200, second), (10**18, second)):
        found = book.in_force("tiny", "org-a", at_us)
        assert found is not None and found.id == expected.id
    assert book.in_force("other", "org-a", 150) is None


async def test_a_tenants_own_price_comes_first_while_it_holds(database: Database) -> None:
    """Guards against a discount that is not given, or given to others."""
    book = PriceBook()
    async with database.write() as session:
        tenant = await tenancy.create_tenant(session, "Acme", 1)
        everybodys = await prices.set_price(session, "tiny", DEAR, 1, from_us=100)
        own = await prices.set_price(session, "tiny", CHEAP, 1, from_us=200, tenant_id=tenant.id)
        await book.refresh(await session.connection())
        listed = await prices.list_prices(session, model="tiny", tenant_id=tenant.id)
    assert [version.id for version in listed] == [everybodys.id, own.id]
    for tenant_id, at_us, expected in (
        (tenant.id, 150, everybodys),
        (tenant.id, 250, own),
        ("org-else", 250, everybodys),
    ):
        found = book.in_force("tiny", tenant_id, at_us)
        assert found is not None and found.id == expected.id


async def test_the_book_follows_the_change_log(database: Database) -> None:
    """Guards against a poster that rates at yesterday's prices."""
    book = PriceBook()
    async with database.read() as session:
        await book.refresh(await session.connection())
    async with database.write() as session:
        await tenancy.create_tenant(session, "Acme", 1)
    async with database.write() as session:
        await prices.set_price(session, "tiny", CHEAP, 5)
    async with database.read() as session:
        await book.refresh(await session.connection())
    assert book.in_force("tiny", "org-a", 5) is not None


async def test_no_price_begins_before_calls_that_are_rated(database: Database) -> None:
    """Guards against a posted row that its own price list contradicts."""
    terms = Terms()
    async with database.write() as session:
        await post(await session.connection(), [a_record()], terms, NOON_US)
    async with database.write() as session:
        with pytest.raises(Refused, match="already rated"):
            await prices.set_price(session, "tiny", CHEAP, NOON_US + 9, from_us=NOON_US)
        with pytest.raises(Refused, match="already rated"):
            await prices.set_price(session, "tiny", CHEAP, NOON_US + 9, from_us=1)
        await prices.set_price(session, "tiny", CHEAP, NOON_US + 9, from_us=NOON_US + 1)
        # Until the next version begins there are no rated calls, so this one may begin in the past.
        await prices.set_price(session, "tiny", CHEAP, NOON_US + 9, from_us=NOON_US + 1_000)
        await prices.set_price(session, "tiny", DEAR, NOON_US + 9, from_us=NOON_US + 500)
        await prices.set_price(session, "untouched", CHEAP, NOON_US + 9, from_us=1)


async def test_everybodys_price_may_change_behind_a_tenants_own(database: Database) -> None:
    """Guards against refusing what rates no row differently, and against the reverse."""
    terms = Terms()
    async with database.write() as session:
        tenant = await tenancy.create_tenant(session, "Acme", 1)
        await prices.set_price(session, "tiny", CHEAP, 1, tenant_id=tenant.id)
    async with database.write() as session:
        await post(await session.connection(), [a_record(tenant_id=tenant.id)], terms, NOON_US)
    async with database.write() as session:
        await prices.set_price(session, "tiny", DEAR, NOON_US, from_us=5)
        with pytest.raises(Refused, match="already rated"):
            await prices.set_price(session, "tiny", DEAR, NOON_US, from_us=5, tenant_id=tenant.id)


async def test_now_is_after_whatever_is_rated(database: Database) -> None:
    """Guards against hosts whose clocks differ: a row from the future must not refuse a plain `price set`."""
    async with database.write() as session:
        await post(await session.connection(), [a_record(started_us=NOON_US + 30)], Terms(), NOON_US)
    async with database.write() as session:
        first = await prices.set_price(session, "tiny", CHEAP, NOON_US)
        second = await prices.set_price(session, "tiny", DEAR, NOON_US)
    assert first.effective_from_us == NOON_US + 31
    assert second.effective_from_us == NOON_US + 32


async def test_impossible_prices_are_refused(database: Database) -> None:
    """Guards against a price that could not be added up, and one for nobody."""
    async with database.write() as session:
        await prices.set_price(session, "tiny", CHEAP, 1, from_us=7)
        with pytest.raises(Refused, match="begins at that instant"):
            await prices.set_price(session, "tiny", DEAR, 1, from_us=7)
        with pytest.raises(NotFound):
            await prices.set_price(session, "tiny", CHEAP, 1, tenant_id="org-nobody")
        for rates in (Rates(-1, 0, 0), Rates(PRICE_MICROS_MAX + 1, 0, 0)):
            with pytest.raises(Refused):
                await prices.set_price(session, "tiny", rates, 1)
        for currency in ("usd", "US", "DOLLAR", "€€€"):
            with pytest.raises(Refused, match="currency"):
                await prices.set_price(session, "tiny", CHEAP, 1, currency=currency)
        with pytest.raises(Refused, match="model"):
            await prices.set_price(session, "", CHEAP, 1)
