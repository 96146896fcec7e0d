"""Logging in, invites, resets and new passwords, on both databases, with real argon2id."""

import asyncio
from dataclasses import replace

import pytest
from sqlalchemy import text

from ledger import invites, memberships, password_resets, sessions, users
from ledger.actors import PROGRAM
from ledger.database import Database
from ledger.errors import (
    AlreadyExists,
    Denied,
    NotFound,
    Refused,
    TokenRefused,
    TooManyAttempts,
    WrongCredentials,
)
from ledger.invites import InviteStatus
from ledger.logins import Door, LoggedIn
from ledger.passwords import Passwords
from ledger.project_roles import ProjectGrants, ProjectRole
from ledger.roles import Role
from ledger.sessions import Origin
from ledger.states import UserState
from tests.people import (
    HOUR_US,
    MEMORY_MIB,
    NOON_US,
    OTHER_PASSWORD,
    PASSWORD,
    PEPPER,
    TERMS,
    a_tenant,
    a_user,
    hashed,
    somebody,
)  # fmt: skip

ANN = "ann@example.com"
HERE = Origin("192.0.2.1", "a browser")
ELSEWHERE = Origin("198.51.100.1", "another")
OPERATOR = somebody(Role.OPERATOR)


@pytest.fixture
def door(database: Database) -> Door:
    return Door(database, PEPPER, Passwords(MEMORY_MIB), TERMS)


async def log_in(
    door: Door,
    email: str = ANN,
    password: str = PASSWORD,
    origin: Origin = HERE,
    device: str | None = None,
    now_us: int = NOON_US,
) -> LoggedIn:
    return await door.log_in(email, password, origin, device, now_us)


async def is_in(door: Door, begun: LoggedIn, token: str | None = None) -> bool:
    async with door.database.read() as session:
        return await sessions.find(session, PEPPER, token or begun.token, TERMS, NOON_US + 1) is not None


async def events(database: Database) -> list[tuple[str, str, str | None]]:
    """What the audit log says: event, who, whose tenant."""
    query = text("SELECT event, actor_name, tenant_id FROM audit_event ORDER BY position")
    async with database.read() as session:
        return [(event, actor, tenant) for event, actor, tenant in await session.execute(query)]


async def test_the_right_password_logs_in_and_all_else_is_told_the_same(door: Door) -> None:
    """Guards against an answer that tells who has an account, and a login that leaves no trace."""
    tenant, _ = await a_tenant(door.database)
    await a_user(door.database, ANN, (tenant.id, Role.READER), credential_hash=await hashed(ANN))
    await a_user(door.database, "new@example.com", (tenant.id, Role.READER))
    gone = await a_user(door.database, "gone@example.com", credential_hash=await hashed("gone@example.com"))
    async with door.database.write() as session:
        await users.set_state(session, gone.id, UserState.DISABLED, 2, by=PROGRAM)
    begun = await log_in(door, email=" ANN@example.com ")
    assert await is_in(door, begun)
    assert begun.user.last_login_us == NOON_US
    assert ("login.succeeded", "Ann", tenant.id) in await events(door.database)
    said = set()
    for email, password in (
        (ANN, PASSWORD.upper()),
        ("nobody@example.com", PASSWORD),
        ("new@example.com", PASSWORD),
        ("gone@example.com", PASSWORD),
        ("no address", PASSWORD),
        (ANN, "x" * 5000),
        (ANN, "half \ud800 a pair"),
    ):
        with pytest.raises(WrongCredentials) as refused:
            await log_in(door, email, password)
        said.add(str(refused.value))
    assert len(said) == 1


async def test_failures_are_counted_and_a_known_browser_is_let_in_all_the_same(door: Door) -> None:
    """Guards against guessing without end, and against a stranger who locks the user out."""
    await a_user(door.database, ANN, credential_hash=await hashed(ANN))
    begun = await log_in(door)
    for _ in range(5):
        with pytest.raises(WrongCredentials):
            await log_in(door, password="a wrong one of mine")
    with pytest.raises(TooManyAttempts) as held:
        await log_in(door)  # the right one, and not even looked at
    assert held.value.wait_seconds == 60
    assert await is_in(door, await log_in(door, origin=ELSEWHERE))
    assert await is_in(door, await log_in(door, device=begun.device))
    with pytest.raises(TooManyAttempts):
        await log_in(door, device=begun.device[:-1] + "x")


async def test_the_hash_is_made_anew_with_other_parameters(door: Door) -> None:
    """Guards against hashes that stay as weak as they were made, and against a login that ends sessions."""
    user = await a_user(door.database, ANN, credential_hash=await hashed(ANN))
    begun = await log_in(door)
    stronger = replace(door, passwords=Passwords(MEMORY_MIB + 1))
    await log_in(stronger)
    async with door.database.read() as session:
        found = await users.get_user(session, user.id)
    assert f"m={(MEMORY_MIB + 1) * 1024}," in str(found.credential_hash)
    assert await is_in(door, begun)
    assert await is_in(door, await log_in(stronger))


async def test_another_password_ends_all_other_sessions(door: Door) -> None:
    """Guards against a thief who stays logged in, also with the token of the session it was changed in."""
    user = await a_user(door.database, ANN, credential_hash=await hashed(ANN))
    mine, stolen = await log_in(door), await log_in(door, origin=ELSEWHERE)

    async def change(old: str, new: str) -> tuple[int, str | None]:
        async with door.database.read() as session:
            known = await users.get_user(session, user.id)
        return await door.change_password(known, mine.session.id, old, new, HERE, NOON_US + 1)

    with pytest.raises(WrongCredentials):
        await change(OTHER_PASSWORD, OTHER_PASSWORD)
    with pytest.raises(Refused, match="e-mail"):
        await change(PASSWORD, ANN + " and more")
    ended, token = await change(PASSWORD, OTHER_PASSWORD)
    assert ended == 1
    assert await is_in(door, mine, token)
    assert not await is_in(door, mine)
    assert not await is_in(door, stolen)
    with pytest.raises(WrongCredentials):
        await log_in(door)
    assert await is_in(door, await log_in(door, password=OTHER_PASSWORD))
    # Guesses at the old one are counted for this session, and keep nobody from logging in.
    with pytest.raises(TooManyAttempts):
        for _ in range(12):
            with pytest.raises(WrongCredentials):
                await change(PASSWORD, OTHER_PASSWORD)
    assert await is_in(door, await log_in(door, password=OTHER_PASSWORD))


async def test_a_password_that_was_just_changed_opens_nothing(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards against a login that verified the old password just before, and enters just after."""
    user = await a_user(door.database, ANN, credential_hash=await hashed(ANN))
    new_hash, verify = await hashed(ANN, OTHER_PASSWORD), Passwords.verify

    async def slowly(self: Passwords, password: str, kept: str | None) -> object:
        verdict = await verify(self, password, kept)
        async with door.database.write() as session:
            found = await users.get_user(session, user.id)
            await users.set_credential(session, found, new_hash, NOON_US, by=PROGRAM)
        return verdict

    monkeypatch.setattr(Passwords, "verify", slowly)
    with pytest.raises(WrongCredentials):
        await log_in(door)


async def invited(
    door: Door,
    tenant_id: str,
    email: str = ANN,
    role: Role = Role.READER,
    grants: ProjectGrants | None = None,
) -> str:
    """The token of an invite."""
    async with door.database.write() as session:
        _, token = await invites.create(
            session, PEPPER, tenant_id, email, role, grants or ProjectGrants(()), NOON_US, by=OPERATOR
        )
        return token


async def test_an_invite_makes_a_user_once(door: Door) -> None:
    """Guards against a token that works twice, for another address, too late, or with a weak password."""
    tenant, project = await a_tenant(door.database)
    grants = ProjectGrants(((project.id, ProjectRole.OWNER),))
    token = await invited(door, tenant.id, role=Role.BILLING, grants=grants)
    with pytest.raises(Refused, match="at least 12"):
        await door.accept_invite(token, "Ann", "short", HERE, None, NOON_US + 1)
    with pytest.raises(TokenRefused):
        await door.accept_invite(token, "Ann", PASSWORD, HERE, None, NOON_US + invites.LIFE_US)
    tries = [door.accept_invite(token, "Ann", PASSWORD, HERE, None, NOON_US + 1) for _ in range(3)]
    done = await asyncio.gather(*tries, return_exceptions=True)
    (begun,) = [one for one in done if isinstance(one, LoggedIn)]
    assert all(isinstance(one, LoggedIn | TokenRefused | WrongCredentials) for one in done)
    assert await is_in(door, begun)
    assert begun.user.email == ANN
    async with door.database.read() as session:
        ((membership, found),) = await memberships.list_tenants(session, begun.user.id)
        assert (membership.role, found.id) == (Role.BILLING, tenant.id)
        actor = await memberships.acting(session, begun.user, None, project.id, HERE)
        assert (actor.role, actor.project_id) == (Role.ADMIN, project.id)
        ((invite,), _) = ((await invites.page(session, tenant.id, limit=5)).rows, None)
        assert invites.status_of(invite, NOON_US) is InviteStatus.ACCEPTED
    said = [event for event, _, tenant_id in await events(door.database) if tenant_id == tenant.id]
    assert said[-3:] == ["invite.sent", "invite.accepted", "login.succeeded"]
    for forged in (token[:-1] + "x", token.replace("invite-", "reset_"), "", begun.token):
        with pytest.raises(TokenRefused):
            await door.accept_invite(forged, "Ann", PASSWORD, HERE, None, NOON_US + 1)


async def test_an_invite_never_takes_over_who_is_a_user_already(door: Door) -> None:
    """Guards against a tenant that invites somebody else's user, and sets their password with the token."""
    tenant, _ = await a_tenant(door.database)
    other, _ = await a_tenant(door.database, "Other")
    user = await a_user(door.database, ANN, (other.id, Role.OWNER), credential_hash=await hashed(ANN))
    token = await invited(door, tenant.id)
    with pytest.raises(WrongCredentials):
        await door.accept_invite(token, "Eve", OTHER_PASSWORD, ELSEWHERE, None, NOON_US + 1)
    with pytest.raises(WrongCredentials):
        await log_in(door, password=OTHER_PASSWORD)
    begun = await door.accept_invite(token, "Eve", PASSWORD, HERE, None, NOON_US + 1)
    assert (begun.user.id, begun.user.name) == (user.id, "Ann")
    async with door.database.read() as session:
        assert len(await memberships.list_tenants(session, user.id)) == 2


async def test_who_may_be_invited_and_by_whom(door: Door) -> None:
    """Guards against an admin who invites an owner, and invites into what is not theirs."""
    tenant, project = await a_tenant(door.database)
    other, others_project = await a_tenant(door.database, "Other")
    await a_user(door.database, "in@example.com", (tenant.id, Role.READER))
    admin = somebody(Role.ADMIN, tenant.id)

    async def invite(email: str, role: Role, project_id: str | None = None) -> str:
        grants = ProjectGrants(() if project_id is None else ((project_id, ProjectRole.MEMBER),))
        async with door.database.write() as session:
            made, _ = await invites.create(session, PEPPER, tenant.id, email, role, grants, NOON_US, by=admin)
            return made.id

    with pytest.raises(Denied, match="owner"):
        await invite(ANN, Role.OWNER)
    with pytest.raises(Refused, match="operator"):
        await invite(ANN, Role.OPERATOR)
    with pytest.raises(NotFound):
        await invite(ANN, Role.READER, others_project.id)
    with pytest.raises(AlreadyExists, match="member"):
        await invite("IN@example.com", Role.READER)
    invite_id = await invite(ANN, Role.ADMIN, project.id)
    with pytest.raises(AlreadyExists, match=invite_id):
        await invite("ANN@example.com", Role.READER)
    async with door.database.write() as session:
        with pytest.raises(NotFound):
            await invites.get(session, other.id, invite_id)
        with pytest.raises(Denied, match="admin"):
            await invites.take_back(
                session, tenant.id, invite_id, NOON_US, by=somebody(Role.READER, tenant.id)
            )
        await invites.take_back(session, tenant.id, invite_id, NOON_US, by=admin)
    assert await invite(ANN, Role.READER) != invite_id


async def reset_of(door: Door, user_id: str, role: Role, tenant_id: str | None) -> str:
    """The token of a password reset."""
    async with door.database.write() as session:
        by = somebody(role, tenant_id)
        return (await password_resets.create(session, PEPPER, user_id, NOON_US, by=by))[1]


async def test_a_reset_sets_the_password_once(door: Door) -> None:
    """Guards against a token that works twice, too late, beside a newer one, or leaves sessions open."""
    tenant, _ = await a_tenant(door.database)
    user = await a_user(door.database, ANN, (tenant.id, Role.READER), credential_hash=await hashed(ANN))
    begun = await log_in(door)
    void = await reset_of(door, user.id, Role.ADMIN, tenant.id)
    token = await reset_of(door, user.id, Role.ADMIN, tenant.id)
    with pytest.raises(TokenRefused):
        await door.reset_password(void, OTHER_PASSWORD, HERE, NOON_US + 1)
    with pytest.raises(TokenRefused):
        await door.reset_password(token, OTHER_PASSWORD, HERE, NOON_US + password_resets.LIFE_US)
    with pytest.raises(Refused):
        await door.reset_password(token, "short", HERE, NOON_US + 1)
    tries = [door.reset_password(token, OTHER_PASSWORD, HERE, NOON_US + 1) for _ in range(2)]
    done = await asyncio.gather(*tries, return_exceptions=True)
    assert sorted(type(one).__name__ for one in done) == ["TokenRefused", "User"]
    assert not await is_in(door, begun)
    assert await is_in(door, await log_in(door, password=OTHER_PASSWORD))
    said = [(event, who) for event, who, tenant_id in await events(door.database) if tenant_id == tenant.id]
    assert ("user.password_reset_created", "admin") in said
    assert ("user.password_changed", "Ann") in said


async def test_who_may_reset_whose_password(door: Door) -> None:
    """Guards against a tenant that becomes another's user, or an admin who becomes an owner, by a reset."""
    tenant, _ = await a_tenant(door.database)
    other, _ = await a_tenant(door.database, "Other")
    owner = await a_user(door.database, "owner@example.com", (tenant.id, Role.OWNER))
    both = await a_user(door.database, "both@example.com", (tenant.id, Role.READER), (other.id, Role.READER))
    boss = await a_user(door.database, "boss@example.com", (tenant.id, Role.READER), is_operator=True)
    theirs = await a_user(door.database, "theirs@example.com", (other.id, Role.READER))
    for user_id, role, tenant_id, fault in (
        (owner.id, Role.ADMIN, tenant.id, Denied),
        (both.id, Role.OWNER, tenant.id, Denied),
        (boss.id, Role.OWNER, tenant.id, Denied),
        (theirs.id, Role.OWNER, tenant.id, NotFound),
        ("user-none", Role.OWNER, tenant.id, NotFound),
        ("user-none", Role.OPERATOR, None, NotFound),
    ):
        with pytest.raises(fault):
            await reset_of(door, user_id, role, tenant_id)
    for user_id in (owner.id, both.id, boss.id):
        assert await reset_of(door, user_id, Role.OPERATOR, None)
    assert await reset_of(door, owner.id, Role.OWNER, tenant.id)


async def test_a_reset_that_waits_does_not_come_along_into_another_tenant(door: Door) -> None:
    """Guards against an owner who keeps a token for the day that their user joins somebody else."""
    tenant, _ = await a_tenant(door.database)
    other, _ = await a_tenant(door.database, "Other")
    user = await a_user(door.database, ANN, (tenant.id, Role.READER), credential_hash=await hashed(ANN))
    kept = await reset_of(door, user.id, Role.OWNER, tenant.id)
    token = await invited(door, other.id)
    await door.accept_invite(token, "Ann", PASSWORD, HERE, None, NOON_US + HOUR_US)
    with pytest.raises(TokenRefused):
        await door.reset_password(kept, OTHER_PASSWORD, ELSEWHERE, NOON_US + HOUR_US)
