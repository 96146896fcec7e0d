"""Tenants, projects, keys, principals and the change log, on both databases."""

import asyncio

import pytest
from sqlalchemy import text

from ledger import admin_keys, changes, keys, tenancy
from ledger.database import Database
from ledger.errors import NotFound, Refused
from ledger.key_settings import change_api_key
from ledger.networks import Networks
from ledger.permissions import KeyScopes
from ledger.places import Cut
from ledger.principals import Principal, find_principal
from ledger.states import KeyState, ProjectState, TenantState
from tests.permitted import allow_models, deny_models

PEPPER = b"p" * 32


async def make_key(database: Database, expires_us: int | None = None) -> tuple[str, str, str, str]:
    """A tenant, a project and a key: their ids, and the secret."""
    async with database.write() as session:
        tenant = await tenancy.create_tenant(session, "Acme", 1)
        project = await tenancy.create_project(session, tenant.id, "search", 2)
        key, secret = await tenancy.create_api_key(session, PEPPER, project.id, "ci", 3, expires_us)
    return tenant.id, project.id, key.id, secret


async def principal_of(database: Database, secret: str) -> Principal | None:
    async with database.read() as session:
        return await find_principal(await session.connection(), keys.digest(PEPPER, secret))


async def test_a_new_key_speaks_for_its_project_and_tenant(database: Database) -> None:
    """Guards against a call that is billed to somebody else."""
    tenant_id, project_id, key_id, secret = await make_key(database)
    principal = await principal_of(database, secret)
    assert principal == Principal(
        tenant_id, project_id, key_id, TenantState.ACTIVE, ProjectState.ACTIVE, KeyState.ACTIVE, None
    )
    assert principal.is_active(now_us=10)
    assert await principal_of(database, keys.mint()) is None


async def test_the_secret_is_nowhere_in_the_database(database: Database) -> None:
    """Guards against a leaked backup that opens the data plane."""
    _, _, _, secret = await make_key(database)
    async with database.read() as session:
        for table in ("api_key", "api_key_secret"):
            (row,) = (await session.execute(text(f"SELECT * FROM {table}"))).all()
            assert all(secret not in str(value) for value in row)
            assert all(secret.encode() not in bytes(str(value), "utf-8") for value in row)
            assert keys.redact(secret) in row


async def test_each_level_shuts_the_key_out_and_lets_it_in_again(database: Database) -> None:
    """Guards against a block that one of the three levels forgets."""
    tenant_id, project_id, key_id, secret = await make_key(database)

    async def is_active() -> bool:
        principal = await principal_of(database, secret)
        assert principal is not None
        return principal.is_active(now_us=10)

    async with database.write() as session:
        await tenancy.set_tenant_state(session, tenant_id, TenantState.BLOCKED, 4)
    assert not await is_active()
    async with database.write() as session:
        await tenancy.set_tenant_state(session, tenant_id, TenantState.ACTIVE, 5)
        await tenancy.set_project_state(session, project_id, ProjectState.BLOCKED, 5)
    assert not await is_active()
    async with database.write() as session:
        await tenancy.set_project_state(session, project_id, ProjectState.ACTIVE, 6)
        await tenancy.block_api_key(session, key_id, 6)
    assert not await is_active()
    async with database.write() as session:
        await tenancy.unblock_api_key(session, key_id, 7)
    assert await is_active()
    async with database.write() as session:
        await tenancy.revoke_api_key(session, key_id, 8)
    assert not await is_active()


async def test_what_is_final_stays_so(database: Database) -> None:
    """Guards against a revoked key, or an archived project, that comes back to life."""
    _, project_id, key_id, _ = await make_key(database)
    async with database.write() as session:
        await tenancy.revoke_api_key(session, key_id, 4)
        await tenancy.revoke_api_key(session, key_id, 5)
        with pytest.raises(Refused, match="revoked"):
            await tenancy.unblock_api_key(session, key_id, 5)
        await tenancy.set_project_state(session, project_id, ProjectState.ARCHIVED, 6)
        with pytest.raises(Refused, match="archived"):
            await tenancy.set_project_state(session, project_id, ProjectState.ACTIVE, 7)
        with pytest.raises(Refused, match="archived"):
            await tenancy.create_api_key(session, PEPPER, project_id, "late", 8)


async def test_a_key_expires_at_its_instant(database: Database) -> None:
    """Guards against a key that outlives its time, and one that is born dead."""
    _, project_id, _, secret = await make_key(database, expires_us=100)
    principal = await principal_of(database, secret)
    assert principal is not None
    assert principal.is_active(99) and not principal.is_active(100)
    async with database.write() as session:
        with pytest.raises(Refused, match="expired"):
            await tenancy.create_api_key(session, PEPPER, project_id, "dead", 100, expires_us=100)


async def test_restrictions_reach_the_principal_and_the_log(database: Database) -> None:
    """Guards against a restriction that is kept and never checked, or that workers never hear of."""
    _, project_id, key_id, secret = await make_key(database)
    of_project, of_key = deny_models(["*-large"]), allow_models(["gpt-*", "naïve"])
    scopes, networks = KeyScopes.parse(["embeddings"]), Networks.parse(["192.0.2.0/24", "2001:db8::1"])
    async with database.read() as session:
        seen = await changes.latest(await session.connection())
    for _ in range(2):  # the second time changes nothing, and says nothing
        async with database.write() as session:
            await tenancy.set_project_models(session, project_id, of_project, 4)
            await change_api_key(session, key_id, {"model_permissions": of_key}, 5)
            await change_api_key(session, key_id, {"scopes": scopes}, 6)
            await change_api_key(session, key_id, {"networks": networks}, 7)
    principal = await principal_of(database, secret)
    assert principal is not None
    assert principal.model_permissions == (of_project, of_key)
    assert (principal.scopes, principal.networks) == (scopes, networks)
    async with database.read() as session:
        news = await changes.since(await session.connection(), seen)
        assert [(change.kind, change.subject_id) for change in news] == [
            ("project.models_changed", project_id),
            ("key.changed", key_id),
            ("key.changed", key_id),
            ("key.changed", key_id),
        ]
    async with database.write() as session:
        await tenancy.set_project_models(session, project_id, None, 8)
        await change_api_key(session, key_id, {"model_permissions": None}, 8)
        await change_api_key(session, key_id, {"scopes": None}, 8)
        await change_api_key(session, key_id, {"networks": None}, 8)
    principal = await principal_of(database, secret)
    assert principal is not None
    assert (principal.model_permissions, principal.scopes, principal.networks) == ((), None, None)


async def test_a_project_and_a_key_are_born_with_their_restrictions(database: Database) -> None:
    """Guards against a moment in which a new key may do everything."""
    models, scopes, networks = allow_models(["m"]), KeyScopes.parse(["models"]), Networks.parse(["::1"])
    async with database.write() as session:
        tenant = await tenancy.create_tenant(session, "Acme", 1)
        project = await tenancy.create_project(session, tenant.id, "p", 1, model_permissions=models)
        _, secret = await tenancy.create_api_key(
            session, PEPPER, project.id, "k", 1, model_permissions=models, scopes=scopes, networks=networks
        )
    principal = await principal_of(database, secret)
    assert principal is not None
    assert principal.model_permissions == (models, models)
    assert (principal.scopes, principal.networks) == (scopes, networks)


async def test_unknown_ids_and_bad_names_are_refused(database: Database) -> None:
    """Guards against a project of nobody, and a name that garbles a terminal."""
    async with database.write() as session:
        with pytest.raises(NotFound, match="org-nobody"):
            await tenancy.create_project(session, "org-nobody", "x", 1)
        with pytest.raises(NotFound):
            await tenancy.revoke_api_key(session, "key_nobody", 1)
        for name in ("", "  ", "a\x1b[2J", "n" * 201):
            with pytest.raises(Refused):
                await tenancy.create_tenant(session, name, 1)


async def test_lists_are_in_order_and_filtered(database: Database) -> None:
    """Guards against one tenant's keys in another's list."""
    first = await make_key(database)
    second = await make_key(database)
    async with database.read() as session:
        of_project = await tenancy.page_api_keys(session, Cut(10), project_id=first[1])
        of_tenant = await tenancy.page_api_keys(session, Cut(10), tenant_id=second[0])
        assert [[key.id for key in page.rows] for page in (of_project, of_tenant)] == [
            [first[2]],
            [second[2]],
        ]
        projects = await tenancy.page_projects(session, Cut(10))
        assert {project.id for project in projects.rows} == {first[1], second[1]}
        projects = await tenancy.page_projects(session, Cut(10), tenant_id=first[0])
        assert [project.id for project in projects.rows] == [first[1]]
        assert len(await tenancy.list_tenants(session)) == 2


async def test_admin_keys_are_found_while_they_are_active(database: Database) -> None:
    """Guards against a revoked operator."""
    async with database.write() as session:
        key, secret = await admin_keys.create_admin_key(session, PEPPER, "operator", 1)
    digest = keys.digest(PEPPER, secret)
    assert keys.is_well_formed(secret.encode(), keys.ADMIN_PREFIX)
    async with database.write() as session:
        found = await admin_keys.find_admin_key(session, digest, 2)
        assert found is not None and found.id == key.id
        with pytest.raises(Refused, match="last key"):
            await admin_keys.revoke_admin_key(session, key.id, 3)
        await admin_keys.create_admin_key(session, PEPPER, "another", 3)
        await admin_keys.revoke_admin_key(session, key.id, 3)
        assert await admin_keys.find_admin_key(session, digest, 4) is None


async def test_every_change_is_in_the_log(database: Database) -> None:
    """Guards against a revoked key that workers never hear of."""
    _, project_id, key_id, _ = await make_key(database)
    async with database.read() as session:
        seen = await changes.latest(await session.connection())
    async with database.write() as session:
        await tenancy.block_api_key(session, key_id, 4)
        await tenancy.block_api_key(session, key_id, 5)  # changes nothing, says nothing
        await tenancy.set_project_state(session, project_id, ProjectState.BLOCKED, 6)
    async with database.read() as session:
        news = await changes.since(await session.connection(), seen)
        assert [(change.kind, change.subject_id, change.at_us) for change in news] == [
            ("key.blocked", key_id, 4),
            ("project.blocked", project_id, 6),
        ]
        assert await changes.latest(await session.connection()) == news[-1].id


async def test_a_follower_misses_no_change_however_commits_overlap(database_url: str) -> None:
    """Guards against a change that commits after a later one was seen: a follower would never look back at
    it.
    """
    writers = [Database(database_url) for _ in range(4)]
    follower = Database(database_url)
    done = asyncio.Event()
    seen: list[int] = []

    async def write(number: int) -> None:
        for turn in range(10):
            async with writers[number].write() as session:
                await changes.append(session, "test", f"{number}-{turn}", turn)
                await asyncio.sleep(0.001 * number)  # hold the transaction open, so that others overlap

    async def follow() -> None:
        last, finished = 0, False
        while not finished:
            finished = done.is_set()
            async with follower.read() as session:
                for change in await changes.since(await session.connection(), last):
                    assert change.id is not None
                    seen.append(change.id)
                    last = change.id

    following = asyncio.create_task(follow())
    await asyncio.gather(*(write(number) for number in range(4)))
    done.set()
    await following
    assert len(seen) == 40
    for database in (*writers, follower):
        await database.close()
