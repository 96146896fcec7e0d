"""Admin keys on both databases: nobody gives more than they have, and nobody locks everybody out."""

import asyncio

import pytest
from sqlalchemy import text

from ledger import admin_keys, tenancy
from ledger.actors import Actor, ActorKind
from ledger.database import Database
from ledger.errors import Denied, LedgerError, NotFound, Refused
from ledger.places import Cut
from ledger.roles import Role
from ledger.states import KeyState

PEPPER = b"p" * 32
NOW = 100


def actor(role: Role, tenant_id: str | None = None, project_id: str | None = None) -> Actor:
    return Actor(ActorKind.ADMIN_KEY, "adminkey_actor", "Actor", role, tenant_id, project_id)


async def make(
    database: Database,
    role: Role,
    tenant_id: str | None = None,
    project_id: str | None = None,
    *,
    by: Actor | None = None,
    expires_us: int | None = None,
) -> str:
    """A key's id."""
    async with database.write() as session:
        key, _ = await admin_keys.create_admin_key(
            session, PEPPER, "Key", NOW, role=role, tenant_id=tenant_id, project_id=project_id,
            expires_us=expires_us, by=by or actor(Role.OPERATOR),
        )  # fmt: skip
        return key.id


async def revoke(database: Database, key_id: str, by: Actor | None = None) -> KeyState:
    async with database.write() as session:
        key = await admin_keys.revoke_admin_key(session, key_id, NOW, by=by or actor(Role.OPERATOR))
        return key.state


@pytest.fixture
async def ids(database: Database) -> tuple[str, str, str, str]:
    """A tenant, two projects of it, and another tenant."""
    async with database.write() as session:
        tenants = [await tenancy.create_tenant(session, name, 1) for name in "ab"]
        await session.flush()
        projects = [await tenancy.create_project(session, tenants[0].id, name, 1) for name in "pq"]
        return tenants[0].id, projects[0].id, projects[1].id, tenants[1].id


async def test_nobody_gives_more_than_they_have(database: Database, ids: tuple[str, str, str, str]) -> None:
    """Guards against a key that makes itself a mightier one, or one in a stranger's house."""
    tenant, project, beside, other = ids
    owner, admin = actor(Role.OWNER, tenant), actor(Role.ADMIN, tenant)
    limited = actor(Role.OWNER, tenant, project)
    tries: list[tuple[Actor, Role, str | None, str | None, type[LedgerError] | tuple[str, str | None]]] = [
        (owner, Role.OWNER, None, None, (tenant, None)),
        (owner, Role.ADMIN, tenant, project, (tenant, project)),
        (owner, Role.OPERATOR, None, None, Denied),
        (owner, Role.READER, other, None, NotFound),
        (owner, Role.READER, "org-none", None, NotFound),
        (admin, Role.OWNER, None, None, Denied),
        (admin, Role.ADMIN, None, None, (tenant, None)),
        (limited, Role.READER, None, None, (tenant, project)),
        (limited, Role.OWNER, tenant, None, (tenant, project)),
        (limited, Role.READER, None, beside, NotFound),
        (actor(Role.READER, tenant), Role.ADMIN, None, None, Denied),
        (actor(Role.OPERATOR), Role.OPERATOR, tenant, None, Refused),
        (actor(Role.OPERATOR), Role.OWNER, None, None, Refused),
        (actor(Role.OPERATOR), Role.OWNER, other, project, Refused),
        (actor(Role.OPERATOR), Role.OWNER, None, project, (tenant, project)),
    ]
    for by, role, tenant_id, project_id, expected in tries:
        if isinstance(expected, tuple):
            key_id = await make(database, role, tenant_id, project_id, by=by)
            async with database.read() as session:
                key = await admin_keys.get_admin_key(session, key_id)
            assert (key.role, key.tenant_id, key.project_id) == (role, *expected)
        else:
            with pytest.raises(expected):
                await make(database, role, tenant_id, project_id, by=by)


async def test_keys_are_seen_and_ended_within_ones_reach(
    database: Database, ids: tuple[str, str, str, str]
) -> None:
    """Guards against an admin who ends the owner's key, and a tenant that counts the operator's."""
    tenant, project, beside, other = ids
    keys = {
        "operator": await make(database, Role.OPERATOR),
        "owner": await make(database, Role.OWNER, tenant),
        "reader": await make(database, Role.READER, tenant),
        "in project": await make(database, Role.READER, tenant, project),
        "beside": await make(database, Role.READER, tenant, beside),
        "other": await make(database, Role.READER, other),
    }
    admin, limited = actor(Role.ADMIN, tenant), actor(Role.ADMIN, tenant, project)
    async with database.read() as session:
        seen = {key.id for key in (await admin_keys.page_admin_keys(session, Cut(10), admin)).rows}
        assert seen == {keys[name] for name in ("owner", "reader", "in project", "beside")}
        of_project = await admin_keys.page_admin_keys(session, Cut(10), limited)
        assert [key.id for key in of_project.rows] == [keys["in project"]]
    for by, name, fault in (
        (admin, "owner", Denied),
        (admin, "operator", NotFound),
        (admin, "other", NotFound),
        (limited, "reader", NotFound),
        (limited, "beside", NotFound),
    ):
        with pytest.raises(fault):
            await revoke(database, keys[name], by)
    assert await revoke(database, keys["in project"], limited) == KeyState.REVOKED
    assert await revoke(database, keys["reader"], admin) == KeyState.REVOKED


async def test_the_last_key_stays(database: Database, ids: tuple[str, str, str, str]) -> None:
    """Guards against an operator, and an owner, who shut the door behind them."""
    tenant, project, *_ = ids
    operator = await make(database, Role.OPERATOR)
    await make(database, Role.OPERATOR, expires_us=NOW + 1)
    with pytest.raises(Refused, match="make another one first"):
        await revoke(database, operator)
    await make(database, Role.OPERATOR)
    assert await revoke(database, operator) == KeyState.REVOKED
    assert await revoke(database, operator) == KeyState.REVOKED

    owner = await make(database, Role.OWNER, tenant)
    await make(database, Role.OWNER, tenant, project)
    with pytest.raises(Refused, match="last owner key"):
        await revoke(database, owner, actor(Role.OWNER, tenant))
    assert await revoke(database, owner) == KeyState.REVOKED  # the operator lets somebody in again


async def test_two_that_end_each_other_do_not_both_succeed(database: Database) -> None:
    """Guards against two checks that both find the other key there."""
    for _ in range(3):
        first, second = await make(database, Role.OPERATOR), await make(database, Role.OPERATOR)
        async with database.write() as session:
            await session.execute(
                text("UPDATE admin_key SET state = 'revoked' WHERE id NOT IN (:first, :second)"),
                {"first": first, "second": second},
            )
        done = await asyncio.gather(
            *(revoke(database, key) for key in (first, second)), return_exceptions=True
        )
        assert sorted(type(one).__name__ for one in done) == ["KeyState", "Refused"]


async def test_keys_of_before_there_were_roles_are_the_operators(empty_database_url: str) -> None:
    """Guards against an upgrade that locks the operator out, or lets a tenant's key be one afterwards."""
    database = Database(empty_database_url)
    try:
        await database.upgrade()
        await database.downgrade("0007")
        async with database.write() as session:
            await session.execute(
                text(
                    "INSERT INTO admin_key (id, name, digest, redacted, state, created_us)"
                    " VALUES ('adminkey_1', 'Operator', :digest, 'sk-admin-...', 'active', 1)"
                ),
                {"digest": b"d" * 32},
            )
        await database.upgrade()
        async with database.read() as session:
            key = await admin_keys.find_admin_key(session, b"d" * 32, NOW)
        assert key is not None and (key.role, key.tenant_id, key.project_id) == (Role.OPERATOR, None, None)
        async with database.write() as session:
            tenant = await tenancy.create_tenant(session, "Acme", 1)
        tenants_key = await make(database, Role.OWNER, tenant.id)
        await database.downgrade("0007")
        async with database.read() as session:
            states = dict((await session.execute(text("SELECT id, state FROM admin_key"))).all())  # type: ignore[arg-type]
        assert states == {"adminkey_1": "active", tenants_key: "revoked"}
    finally:
        await database.close()
