"""Users and what they are in tenants and projects, on both databases."""

import asyncio

import pytest
from sqlalchemy import text

from ledger import memberships, project_memberships, tenancy, users
from ledger.actors import PROGRAM
from ledger.database import Database
from ledger.errors import AlreadyExists, Denied, NotFound, Refused
from ledger.project_roles import ProjectRole
from ledger.roles import Role
from ledger.sessions import Origin
from ledger.states import ProjectState, UserState
from tests.people import a_tenant, a_user, somebody

OPERATOR = somebody(Role.OPERATOR)


async def events(database: Database, tenant_id: str | None = None) -> list[str]:
    """What the audit log says that people did, the oldest first."""
    query = "SELECT event FROM audit_event WHERE subject_id LIKE 'user-%' AND tenant_id"
    query += " IS NULL" if tenant_id is None else " = :id"
    async with database.read() as session:
        found = await session.execute(text(query + " ORDER BY position"), {"id": tenant_id})
        return list(found.scalars())


async def test_an_address_is_one_users_whatever_its_case(database: Database) -> None:
    """Guards against two users with one address, also where both are made at once."""
    await a_user(database, "Ann@Example.com")
    with pytest.raises(AlreadyExists):
        await a_user(database, "ann@example.COM")
    made = await asyncio.gather(
        *(a_user(database, "bob@example.com") for _ in range(3)), return_exceptions=True
    )
    assert sorted(type(one).__name__ for one in made) == ["AlreadyExists", "AlreadyExists", "User"]


async def test_roles_are_given_changed_and_taken_and_written_down(database: Database) -> None:
    """Guards against a change that nobody can find out about, and a project left behind by who left."""
    tenant, project = await a_tenant(database)
    ann = await a_user(database, "ann@example.com")
    async with database.write() as session:
        await memberships.join(session, ann, tenant.id, Role.READER, 2, by=OPERATOR)
        await project_memberships.add(session, project, ann.id, ProjectRole.MEMBER, 3, by=OPERATOR)
        await project_memberships.set_role(session, project, ann.id, ProjectRole.OWNER, 4, by=OPERATOR)
        await memberships.set_role(session, tenant.id, ann.id, Role.BILLING, 5, by=OPERATOR)
        await memberships.set_role(session, tenant.id, ann.id, Role.BILLING, 5, by=OPERATOR)
    async with database.write() as session:
        with pytest.raises(AlreadyExists):
            await memberships.join(session, ann, tenant.id, Role.READER, 6, by=OPERATOR)
    async with database.write() as session:
        await memberships.leave(session, tenant.id, ann.id, 7, by=OPERATOR)
    async with database.read() as session:
        assert await memberships.list_tenants(session, ann.id) == []
        assert (await project_memberships.list_members(session, project, limit=9)).rows == []
        assert await users.get_user(session, ann.id) is not None
    assert await events(database) == ["user.added"]
    assert await events(database, tenant.id) == [
        "user.added", "user.added", "user.updated", "user.updated", "user.deleted",
    ]  # fmt: skip


async def test_nobody_reaches_above_themselves(database: Database) -> None:
    """Guards against an admin who makes themselves an owner, or takes one away."""
    tenant, project = await a_tenant(database)
    owner = await a_user(database, "owner@example.com", (tenant.id, Role.OWNER))
    reader = await a_user(database, "reader@example.com", (tenant.id, Role.READER))
    admin, billing = somebody(Role.ADMIN, tenant.id), somebody(Role.BILLING, tenant.id)
    async with database.write() as session:
        with pytest.raises(Denied, match="owner"):
            await memberships.set_role(session, tenant.id, reader.id, Role.OWNER, 2, by=admin)
        with pytest.raises(Denied, match="owner"):
            await memberships.set_role(session, tenant.id, owner.id, Role.READER, 2, by=admin)
        with pytest.raises(Denied, match="owner"):
            await memberships.leave(session, tenant.id, owner.id, 2, by=admin)
        with pytest.raises(Denied, match="reader"):
            await memberships.set_role(session, tenant.id, reader.id, Role.ADMIN, 2, by=billing)
        with pytest.raises(Denied, match="admin"):
            await project_memberships.add(session, project, reader.id, ProjectRole.OWNER, 2, by=billing)
        with pytest.raises(Refused, match="operator"):
            await memberships.set_role(session, tenant.id, reader.id, Role.OPERATOR, 2, by=OPERATOR)
        assert (await memberships.set_role(session, tenant.id, reader.id, Role.ADMIN, 2, by=admin))[
            0
        ].role == "admin"


async def test_a_tenant_keeps_an_owner_who_can_log_in(database: Database) -> None:
    """Guards against a tenant that nobody can administer, also where two owners demote each other at once."""
    tenant, _ = await a_tenant(database)
    ann = await a_user(database, "ann@example.com", (tenant.id, Role.OWNER))
    bob = await a_user(database, "bob@example.com", (tenant.id, Role.OWNER))
    cid = await a_user(database, "cid@example.com", (tenant.id, Role.OWNER))
    async with database.write() as session:
        await users.set_state(session, cid.id, UserState.DISABLED, 2, by=OPERATOR)
    by = somebody(Role.OWNER, tenant.id)

    async def demote(user_id: str) -> None:
        async with database.write() as session:
            await memberships.set_role(session, tenant.id, user_id, Role.READER, 3, by=by)

    ended = await asyncio.gather(demote(ann.id), demote(bob.id), return_exceptions=True)
    assert sorted(type(one).__name__ for one in ended) == ["NoneType", "Refused"]
    async with database.write() as session:
        await memberships.leave(session, tenant.id, cid.id, 4, by=by)  # who cannot log in is no loss
        with pytest.raises(Refused, match="last owner"):
            await memberships.leave(session, tenant.id, ann.id if ended[0] else bob.id, 4, by=by)
    async with database.write() as session:
        await memberships.leave(session, tenant.id, ann.id if ended[0] else bob.id, 4, by=OPERATOR)


async def test_another_tenants_member_is_nobody(database: Database) -> None:
    """Guards against a tenant that learns of another's people, or changes them."""
    tenant, project = await a_tenant(database)
    other, _ = await a_tenant(database, "Other")
    bob = await a_user(database, "bob@example.com", (other.id, Role.OWNER))
    by = somebody(Role.OWNER, tenant.id)
    async with database.write() as session:
        for ask in (
            memberships.get_member(session, tenant.id, bob.id),
            memberships.set_role(session, tenant.id, bob.id, Role.READER, 2, by=by),
            memberships.leave(session, tenant.id, bob.id, 2, by=by),
            memberships.list_members(session, tenant.id, limit=5, after=bob.id),
            project_memberships.add(session, project, bob.id, ProjectRole.MEMBER, 2, by=by),
            project_memberships.find_candidate(session, project, "bob@example.com"),
            project_memberships.get_member(session, project, bob.id),
        ):
            with pytest.raises(NotFound):
                await ask
        found = await memberships.list_members(session, tenant.id, limit=5, emails=["bob@example.com"])
        assert found.rows == []


async def test_an_archived_project_keeps_its_people_as_they_are(database: Database) -> None:
    """Guards against a change to what is closed for good."""
    tenant, project = await a_tenant(database)
    ann = await a_user(database, "ann@example.com", (tenant.id, Role.READER))
    async with database.write() as session:
        await project_memberships.add(session, project, ann.id, ProjectRole.MEMBER, 2, by=OPERATOR)
        archived = await tenancy.set_project_state(session, project.id, ProjectState.ARCHIVED, 3, by=OPERATOR)
        for ask in (
            project_memberships.add(session, archived, ann.id, ProjectRole.MEMBER, 4, by=OPERATOR),
            project_memberships.set_role(session, archived, ann.id, ProjectRole.OWNER, 4, by=OPERATOR),
            project_memberships.remove(session, archived, ann.id, 4, by=OPERATOR),
        ):
            with pytest.raises(Refused, match="archived"):
                await ask


async def test_who_acts_when_a_user_asks(database: Database) -> None:
    """Guards against a role of one tenant that is used in another, and a project's that narrows nothing."""
    tenant, project = await a_tenant(database)
    other, others_project = await a_tenant(database, "Other")
    ann = await a_user(database, "ann@example.com", (tenant.id, Role.READER), (other.id, Role.OWNER))
    bob = await a_user(database, "bob@example.com", (tenant.id, Role.READER))
    nobody = await a_user(database, "no@example.com")
    boss = await a_user(database, "boss@example.com", is_operator=True)
    here = Origin("192.0.2.1", "a browser")
    async with database.write() as session:
        await project_memberships.add(session, project, bob.id, ProjectRole.OWNER, 2, by=PROGRAM)
        await project_memberships.add(session, project, ann.id, ProjectRole.MEMBER, 2, by=PROGRAM)

    async with database.read() as session:

        async def who(*asked: object) -> tuple[Role, str | None, str | None]:
            actor = await memberships.acting(session, *asked, here)  # type: ignore[arg-type]
            assert (actor.address, actor.user_agent) == ("192.0.2.1", "a browser")
            return actor.role, actor.tenant_id, actor.project_id

        assert await who(ann, tenant.id, None) == (Role.READER, tenant.id, None)
        assert await who(ann, other.id, None) == (Role.OWNER, other.id, None)
        with pytest.raises(Refused, match="2 organizations"):
            await who(ann, None, None)
        assert await who(bob, None, None) == (Role.READER, tenant.id, None)
        assert await who(bob, None, project.id) == (Role.ADMIN, tenant.id, project.id)
        assert await who(bob, None, others_project.id) == (Role.READER, tenant.id, None)
        assert await who(ann, tenant.id, project.id) == (Role.READER, tenant.id, None)
        with pytest.raises(NotFound):
            await who(bob, other.id, None)
        with pytest.raises(NotFound):
            await who(bob, "org-none", None)
        with pytest.raises(Denied):
            await who(nobody, None, None)
        assert await who(boss, None, None) == (Role.OPERATOR, None, None)


async def test_a_page_follows_the_one_before(database: Database) -> None:
    """Guards against a member who is on two pages or on none, though all joined in one microsecond."""
    tenant, project = await a_tenant(database)
    async with database.write() as session:
        for number in range(7):
            user = await users.create_user(session, f"u{number}@example.com", "U", 1, by=PROGRAM)
            await memberships.join(session, user, tenant.id, Role.READER, 5, by=PROGRAM)
            await project_memberships.add(session, project, user.id, ProjectRole.MEMBER, 6, by=PROGRAM)
    async with database.read() as session:
        for ask in (
            lambda after: memberships.list_members(session, tenant.id, limit=3, after=after),
            lambda after: project_memberships.list_members(session, project, limit=3, after=after),
        ):
            after, seen, more = None, [], True
            while more:
                page = await ask(after)
                seen += [user.id for _, user in page.rows]
                after, more = seen[-1], page.has_more
            assert len(seen) == len(set(seen)) == 7
            assert seen == sorted(seen)
