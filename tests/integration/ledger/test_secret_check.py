"""Another secret than the one that the keys were made with is noticed, on both databases."""

import pytest
from sqlalchemy import text

from ledger import admin_keys, secret_check, tenancy
from ledger.database import Database
from ledger.errors import SecretChanged
from ledger.places import Cut

FIRST, OTHER = b"the first pepper", b"another pepper"


async def check(database: Database, pepper: bytes) -> None:
    async with database.read() as session:
        await secret_check.check(await session.connection(), pepper)


async def make_key(database: Database, pepper: bytes) -> None:
    async with database.write() as session:
        await admin_keys.create_admin_key(session, pepper, "Operator", 1)


async def test_the_first_key_tells_the_secret(database: Database) -> None:
    """Guards against a ledger with two sets of keys, of which each start knows one."""
    await check(database, OTHER)
    await make_key(database, FIRST)
    await make_key(database, FIRST)
    await check(database, FIRST)
    with pytest.raises(SecretChanged, match="not the one that the keys of this ledger were made with"):
        await check(database, OTHER)
    with pytest.raises(SecretChanged):
        await make_key(database, OTHER)
    async with database.write() as session:
        tenant = await tenancy.create_tenant(session, "A", 1)
        project = await tenancy.create_project(session, tenant.id, "p", 1)
    with pytest.raises(SecretChanged):
        async with database.write() as session:
            await tenancy.create_api_key(session, OTHER, project.id, "k", 1)
    async with database.read() as session:
        assert len((await admin_keys.page_admin_keys(session, Cut(10))).rows) == 2
        assert (await tenancy.page_api_keys(session, Cut(10))).rows == []


async def test_nothing_of_the_secret_is_kept(database: Database) -> None:
    """Guards against a backup of the ledger that opens it."""
    await make_key(database, FIRST)
    async with database.read() as session:
        [row] = (await session.execute(text("SELECT id, digest FROM secret_check"))).all()
    assert row.id == 1 and len(row.digest) == 32 and FIRST not in row.digest


async def test_keys_of_before_the_check_are_noticed(database: Database) -> None:
    """Guards against a ledger that was upgraded and is never checked, since its first key is long made."""
    async with database.read() as session:
        assert not await secret_check.is_lacking(await session.connection())
    await make_key(database, FIRST)
    async with database.write() as session:
        await session.execute(text("DELETE FROM secret_check"))
        assert await secret_check.is_lacking(await session.connection())
        await secret_check.hold_to(await session.connection(), FIRST, 2)
        assert not await secret_check.is_lacking(await session.connection())


async def test_another_secret_can_be_taken_on_purpose(database: Database) -> None:
    """Guards against a ledger that nobody can use again after its secret is lost."""
    await make_key(database, FIRST)
    async with database.write() as session:
        await secret_check.adopt(await session.connection(), OTHER, 2)
    await make_key(database, OTHER)
    with pytest.raises(SecretChanged):
        await check(database, FIRST)
