"""What users are in tenants: joining, other roles, leaving, and who acts when a user asks.

Nobody gives, changes or takes away a role that allows more than their own. A tenant's own actors leave it an
owner who can log in. What another tenant's member is, nobody learns: NotFound.
"""

from collections.abc import Sequence

from sqlalchemy import delete, select, tuple_
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from ledger import audit, key_access, tenancy, users
from ledger.actors import Actor, ActorKind
from ledger.audit import Subject
from ledger.audit_events import Event
from ledger.audit_facts import facts_of
from ledger.errors import AlreadyExists, Denied, NotFound, Refused
from ledger.object_pages import ObjectPage
from ledger.roles import Permission, Role
from ledger.sessions import Origin
from ledger.states import UserState
from ledger.tables.people import Membership, ProjectMembership, User
from ledger.tables.tenancy import Project, Tenant

Member = tuple[Membership, User]


async def get_member(session: AsyncSession, tenant_id: str, user_id: str) -> Member:
    """Raises NotFound."""
    query = (
        select(Membership, User)
        .join(User, col(User.id) == col(Membership.user_id))
        .where(col(Membership.tenant_id) == tenant_id, col(Membership.user_id) == user_id)
    )
    found = (await session.execute(query)).one_or_none()
    if found is None:
        raise NotFound("user", user_id)
    return found


async def list_members(
    session: AsyncSession,
    tenant_id: str,
    *,
    limit: int,
    after: str | None = None,
    emails: Sequence[str] | None = None,
) -> ObjectPage[Member]:
    """A tenant's members in the order they joined, from behind `after` on; of `emails` alone where they are
    given. Raises NotFound for `after`.
    """
    query = (
        select(Membership, User)
        .join(User, col(User.id) == col(Membership.user_id))
        .where(col(Membership.tenant_id) == tenant_id)
        .order_by(col(Membership.added_us), col(Membership.user_id))
        .limit(limit + 1)
    )
    if emails is not None:
        query = query.where(col(User.email).in_([email.strip().lower() for email in emails]))
    if after is not None:
        last, _ = await get_member(session, tenant_id, after)
        place = tuple_(col(Membership.added_us), col(Membership.user_id))
        query = query.where(place > tuple_(last.added_us, last.user_id))
    return ObjectPage.of((await session.execute(query)).all(), limit)


async def list_tenants(session: AsyncSession, user_id: str) -> list[tuple[Membership, Tenant]]:
    """The tenants that a user is a member of, the oldest membership first."""
    query = (
        select(Membership, Tenant)
        .join(Tenant, col(Tenant.id) == col(Membership.tenant_id))
        .where(col(Membership.user_id) == user_id)
        .order_by(col(Membership.added_us), col(Membership.tenant_id))
    )
    return list(await session.execute(query))


async def join(
    session: AsyncSession, user: User, tenant_id: str, role: Role, now_us: int, *, by: Actor
) -> Membership:
    """Make a user a member. Raises NotFound for the tenant, AlreadyExists, Denied, and Refused for a
    role that is no tenant's.
    """
    must_give(by, role)
    await tenancy.get_tenant(session, tenant_id)
    if await session.get(Membership, (user.id, tenant_id)) is not None:
        raise AlreadyExists(f"user {user.id} is a member already")
    made = Membership(user_id=user.id, tenant_id=tenant_id, role=role, added_us=now_us)
    session.add(made)
    try:
        await session.flush()
    except IntegrityError:  # another transaction was quicker
        raise AlreadyExists(f"user {user.id} is a member already") from None
    await users.void_resets(session, user.id)  # who could reset the password then could enter here with it
    await key_access.tell(session, user.id, now_us, tenant_id=tenant_id)
    subject = Subject(user.id, tenant_id)
    await audit.record(session, by, Event.USER_ADDED, subject, None, _facts(made, user), now_us)
    return made


async def set_role(
    session: AsyncSession, tenant_id: str, user_id: str, role: Role, now_us: int, *, by: Actor
) -> Member:
    """Give a member another role. Raises NotFound, Denied, and Refused for the last owner."""
    membership, user = await _held(session, tenant_id, user_id)
    must_give(by, membership.role)
    must_give(by, role)
    if membership.role != role:
        await _leave_an_owner(session, membership, user, by)
        before = _facts(membership, user)
        membership.role = role
        await key_access.tell(session, user.id, now_us, tenant_id=tenant_id)
        subject = Subject(user.id, tenant_id)
        await audit.record(session, by, Event.USER_UPDATED, subject, before, _facts(membership, user), now_us)
    return membership, user


async def leave(session: AsyncSession, tenant_id: str, user_id: str, now_us: int, *, by: Actor) -> None:
    """End a membership, and those in the tenant's projects: the user's keys there stop working. The user
    stays: other tenants may know them. Raises NotFound, Denied, and Refused for the last owner.
    """
    membership, user = await _held(session, tenant_id, user_id)
    must_give(by, membership.role)
    await _leave_an_owner(session, membership, user, by)
    projects = select(col(Project.id)).where(col(Project.tenant_id) == tenant_id)
    await session.execute(
        delete(ProjectMembership).where(
            col(ProjectMembership.user_id) == user_id, col(ProjectMembership.project_id).in_(projects)
        )
    )
    before = _facts(membership, user)
    await session.delete(membership)
    await key_access.tell(session, user_id, now_us, tenant_id=tenant_id)
    await audit.record(session, by, Event.USER_DELETED, Subject(user_id, tenant_id), before, None, now_us)


async def acting(
    session: AsyncSession,
    user: User,
    tenant_id: str | None,
    project_id: str | None,
    origin: Origin,
) -> Actor:
    """Who acts when this user asks: with the role of the tenant, or of the project where that allows more.

    `tenant_id` None: the only one. Raises NotFound for a tenant that is none of theirs, Refused where it
    could be any of several, Denied where there is none.
    """
    if user.is_operator:
        return actor_of(user, Role.OPERATOR, None, origin)
    chosen = await list_tenants(session, user.id)
    if not chosen:
        raise Denied(Permission.TENANTS_READ, "of any organization: you are a member of none")
    if tenant_id is not None:
        chosen = [(membership, tenant) for membership, tenant in chosen if tenant.id == tenant_id]
        if not chosen:
            raise NotFound("tenant", tenant_id)
    if len(chosen) > 1:
        raise Refused(
            f"you are a member of {len(chosen)} organizations: name one in the header OpenAI-Organization"
        )
    ((membership, tenant),) = chosen
    actor = actor_of(user, membership.role, tenant.id, origin)
    if project_id is not None:
        project = await session.get(Project, project_id)
        in_project = await session.get(ProjectMembership, (user.id, project_id))
        if project is not None and project.tenant_id == tenant.id and in_project is not None:
            role = in_project.role.role()
            if not actor.may_give(role):
                return actor_of(user, role, tenant.id, origin, project_id)
    return actor


def actor_of(
    user: User, role: Role, tenant_id: str | None, origin: Origin, project_id: str | None = None
) -> Actor:
    """The user as the audit log knows them."""
    return Actor(
        ActorKind.USER,
        user.id,
        user.name,
        role,
        tenant_id,
        project_id,
        email=user.email,
        address=origin.address,
        user_agent=origin.user_agent,
    )


def themselves(user: User, origin: Origin) -> Actor:
    """The user, who does what concerns themselves alone, in whatever tenant."""
    return actor_of(user, Role.OPERATOR if user.is_operator else Role.READER, None, origin)


def must_give(by: Actor, role: Role) -> None:
    """Raises Denied unless `by` may give this role, change it and take it away; Refused for the
    operator's.
    """
    if role is Role.OPERATOR:
        raise Refused("nobody is an operator of a tenant")
    if not by.may_give(role):
        raise Denied(Permission.PEOPLE_WRITE, f"for the role {role}, which allows more than yours")


async def must_be_above(session: AsyncSession, user_id: str, by: Actor) -> str | None:
    """The tenant in whose name `by` does what concerns a user in all their tenants; None: the operator's.

    A tenant's own may do it to who is a member of that tenant and of no other, and has no role above theirs.
    Raises NotFound, Denied.
    """
    if by.tenant_id is None:
        if by.role is not Role.OPERATOR:
            raise NotFound("user", user_id)
        return None
    membership, user = await get_member(session, by.tenant_id, user_id)
    must_give(by, membership.role)
    if user.is_operator or len(await list_tenants(session, user_id)) > 1:
        raise Denied(Permission.PEOPLE_WRITE, "for a user who belongs to other organizations, too")
    return by.tenant_id


async def set_state(session: AsyncSession, user_id: str, state: UserState, now_us: int, *, by: Actor) -> User:
    """Disable a user in all their tenants, or let them in again. Raises NotFound, Denied, and Refused for the
    last owner.
    """
    tenant_id = await must_be_above(session, user_id, by)
    if tenant_id is not None and state is UserState.DISABLED:
        await _leave_an_owner(session, *await _held(session, tenant_id, user_id), by)
    return await users.set_state(session, user_id, state, now_us, by=by)


async def of_users(
    session: AsyncSession, user_ids: Sequence[str], tenant_id: str | None = None
) -> dict[str, list[Membership]]:
    """What each of these users is, the oldest membership first: everywhere, or in one tenant."""
    query = select(Membership).where(col(Membership.user_id).in_(user_ids))
    if tenant_id is not None:
        query = query.where(col(Membership.tenant_id) == tenant_id)
    found: dict[str, list[Membership]] = {user_id: [] for user_id in user_ids}
    query = query.order_by(col(Membership.added_us), col(Membership.tenant_id))
    for one in (await session.execute(query)).scalars():
        found[one.user_id].append(one)
    return found


async def _held(session: AsyncSession, tenant_id: str, user_id: str) -> Member:
    """As get_member; every owner of the tenant stays as they are until the commit."""
    owners = (
        select(col(Membership.user_id))
        .where(col(Membership.tenant_id) == tenant_id, col(Membership.role) == Role.OWNER)
        .order_by(col(Membership.user_id))
        .with_for_update()
    )
    await session.execute(owners)
    return await get_member(session, tenant_id, user_id)


async def _leave_an_owner(session: AsyncSession, membership: Membership, user: User, by: Actor) -> None:
    """Raises Refused where a tenant's own actor takes its last owner who can log in."""
    if by.tenant_id is None or membership.role is not Role.OWNER:
        return
    if user.state == UserState.ACTIVE and await users.count_owners(session, membership.tenant_id) == 1:
        raise Refused(f"user {user.id} is the last owner: make another one first")


def _facts(membership: Membership, user: User) -> audit.Facts:
    return {**facts_of(membership), "email": user.email}
