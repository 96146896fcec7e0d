"""Whose keys are: who may have one, and what becomes of it when they lose their part in the project."""

import pytest

from ledger import changes, invites, key_owners, memberships, project_memberships, service_accounts, tenancy
from ledger import keys as key_texts
from ledger.actors import PROGRAM, Actor, ActorKind
from ledger.database import Database
from ledger.errors import NotFound, Refused
from ledger.key_owners import KeyOwner
from ledger.principals import find_principal
from ledger.project_roles import ProjectGrants, ProjectRole
from ledger.roles import Role
from ledger.sessions import Origin
from ledger.states import KeyState, UserState
from ledger.tables.people import User
from ledger.tables.tenancy import Project
from tests.people import PEPPER, a_tenant, a_user, somebody

SVC = "svc_acct_000000000000000000000000"


async def a_key(database: Database, project: Project, user: User) -> tuple[str, bytes]:
    """A key of a user: its id, and the digest of its secret."""
    async with database.write() as session:
        owner = await key_owners.chosen(session, project, user.id, 2)
        key, secret = await tenancy.create_api_key(session, PEPPER, project.id, "K", 2, owner=owner)
        return key.id, key_texts.digest(PEPPER, secret)


async def state_of(database: Database, digest: bytes) -> KeyState:
    """What a worker makes of it."""
    async with database.read() as session:
        principal = await find_principal(await session.connection(), digest)
        assert principal is not None
        return principal.key_state


async def told_since(database: Database, place: int) -> set[str]:
    """Of whom the workers have heard."""
    async with database.read() as session:
        return {one.subject_id for one in await changes.since(await session.connection(), place)}


async def latest(database: Database) -> int:
    async with database.read() as session:
        return await changes.latest(await session.connection())


async def test_a_users_key_works_while_its_user_has_a_part_in_the_project(database: Database) -> None:
    """Guards against a key that outlives its owner's time here, one that stays shut when they are back, and
    a change that no worker hears of.
    """
    tenant, project = await a_tenant(database)
    ann = await a_user(database, "ann@example.com", (tenant.id, Role.ADMIN))
    bob = await a_user(database, "bob@example.com", (tenant.id, Role.OWNER))
    (key_id, digest), (_, bobs) = await a_key(database, project, ann), await a_key(database, project, bob)
    owner = somebody(Role.OWNER, tenant.id)

    async def become(role: Role) -> None:
        await memberships.set_role(session, tenant.id, ann.id, role, 3, by=owner)

    async def come_back() -> None:
        grants = ProjectGrants(((project.id, ProjectRole.MEMBER),))
        invite, _ = await invites.create(
            session, PEPPER, tenant.id, ann.email, Role.READER, grants, 3, by=owner
        )
        await session.flush()
        await invites.accept(session, invite, ann, 3, origin=Origin())

    steps = [
        (lambda: memberships.set_state(session, ann.id, UserState.DISABLED, 3, by=owner), False),
        (lambda: memberships.set_state(session, ann.id, UserState.ACTIVE, 3, by=owner), True),
        (lambda: become(Role.READER), False),  # of the tenant, and not in the project
        (
            lambda: project_memberships.add(session, project, ann.id, ProjectRole.MEMBER, 3, by=owner),
            True,
        ),
        (lambda: project_memberships.remove(session, project, ann.id, 3, by=owner), False),
        (lambda: become(Role.OWNER), True),
        (lambda: memberships.leave(session, tenant.id, ann.id, 3, by=owner), False),
        (come_back, True),
        (lambda: memberships.leave(session, tenant.id, ann.id, 3, by=owner), False),
        (lambda: memberships.join(session, ann, tenant.id, Role.ADMIN, 3, by=owner), True),
    ]
    for number, (step, works) in enumerate(steps):
        place = await latest(database)
        async with database.write() as session:
            await step()
        expected = KeyState.ACTIVE if works else KeyState.BLOCKED
        assert await state_of(database, digest) == expected, number
        assert key_id in await told_since(database, place), number
        async with database.read() as session:
            key = await tenancy.get_api_key(session, key_id)
            assert (await key_owners.owners_of(session, [key]))[key_id].has_access is works, number
    assert await state_of(database, bobs) == KeyState.ACTIVE
    async with database.write() as session:
        await tenancy.block_api_key(session, key_id, 4)
        await memberships.set_state(session, ann.id, UserState.DISABLED, 4, by=owner)
        await memberships.set_state(session, ann.id, UserState.ACTIVE, 4, by=owner)
    assert await state_of(database, digest) == KeyState.BLOCKED, "as its project's administrator has left it"


async def test_an_owner_is_of_the_tenant_and_has_a_part_in_the_project(database: Database) -> None:
    """Guards against a key of somebody else's user, which tells that they exist, and one born dead."""
    (tenant, project), (theirs, their_project) = await a_tenant(database), await a_tenant(database, "Other")
    reader = await a_user(database, "reader@example.com", (tenant.id, Role.READER))
    stranger = await a_user(database, "stranger@example.com", (theirs.id, Role.OWNER))
    async with database.write() as session:
        without_role = await service_accounts.create(session, PEPPER, project.id, "A", 1, with_key=False)
        other = await service_accounts.create(session, PEPPER, their_project.id, "B", 1, with_key=True)
        gone = await service_accounts.create(session, PEPPER, project.id, "C", 1, with_key=True)
        await service_accounts.delete(session, gone.account, 2)
    for owner_id, error in [
        (stranger.id, NotFound),
        ("user-000000000000000000000000", NotFound),
        (other.account.id, NotFound),
        (gone.account.id, NotFound),
        (SVC, NotFound),
        (reader.id, Refused),
        (without_role.account.id, Refused),
        ("ann", Refused),
    ]:
        async with database.write() as session:
            with pytest.raises(error):
                await key_owners.chosen(session, project, owner_id, 3)
    async with database.write() as session:
        own = key_owners.own_account_id(project.id)
        for owner_id in (None, own):
            assert await key_owners.chosen(session, project, owner_id, 3) == KeyOwner(service_account_id=own)
        for user, owner in [(stranger, None), (reader, None)]:
            by = Actor(ActorKind.USER, user.id, user.name, Role.ADMIN, tenant.id)
            assert await key_owners.of_maker(session, project, by) == owner
        assert await key_owners.of_maker(session, project, PROGRAM) is None
