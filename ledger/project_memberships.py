"""What members of a tenant are in its projects. Rules as in ledger/memberships.py."""

from sqlalchemy import select, tuple_
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from ledger import audit, key_access, memberships, users
from ledger.actors import Actor
from ledger.audit import Subject
from ledger.audit_events import Event
from ledger.audit_facts import facts_of
from ledger.emails import parse_email
from ledger.errors import AlreadyExists, NotFound, Refused
from ledger.memberships import must_give
from ledger.object_pages import ObjectPage
from ledger.project_roles import ProjectRole
from ledger.states import ProjectState
from ledger.tables.people import ProjectMembership, User
from ledger.tables.tenancy import Project

ProjectMember = tuple[ProjectMembership, User]


async def get_member(session: AsyncSession, project: Project, user_id: str) -> ProjectMember:
    """Raises NotFound."""
    query = (
        select(ProjectMembership, User)
        .join(User, col(User.id) == col(ProjectMembership.user_id))
        .where(col(ProjectMembership.project_id) == project.id, col(ProjectMembership.user_id) == user_id)
    )
    found = (await session.execute(query)).one_or_none()
    if found is None:
        raise NotFound("user", user_id)
    return found


async def list_members(
    session: AsyncSession, project: Project, *, limit: int, after: str | None = None
) -> ObjectPage[ProjectMember]:
    """A project's members in the order they were added, from behind `after` on. Raises NotFound for that."""
    query = (
        select(ProjectMembership, User)
        .join(User, col(User.id) == col(ProjectMembership.user_id))
        .where(col(ProjectMembership.project_id) == project.id)
        .order_by(col(ProjectMembership.added_us), col(ProjectMembership.user_id))
        .limit(limit + 1)
    )
    if after is not None:
        last, _ = await get_member(session, project, after)
        place = tuple_(col(ProjectMembership.added_us), col(ProjectMembership.user_id))
        query = query.where(place > tuple_(last.added_us, last.user_id))
    return ObjectPage.of((await session.execute(query)).all(), limit)


async def find_candidate(session: AsyncSession, project: Project, email: str) -> User:
    """The member of the project's tenant with this e-mail address. Raises NotFound, Refused."""
    user = await users.find_user(session, parse_email(email))
    if user is None:
        raise NotFound("user", email)
    return (await memberships.get_member(session, project.tenant_id, user.id))[1]


async def add(
    session: AsyncSession, project: Project, user_id: str, role: ProjectRole, now_us: int, *, by: Actor
) -> ProjectMember:
    """Put a member of the tenant into a project. Raises NotFound, AlreadyExists, Denied, and Refused
    for an archived project.
    """
    must_give(by, role.role())
    _must_be_open(project)
    _, user = await memberships.get_member(session, project.tenant_id, user_id)
    if await session.get(ProjectMembership, (user_id, project.id)) is not None:
        raise AlreadyExists(f"user {user_id} is in project {project.id} already")
    made = ProjectMembership(user_id=user_id, project_id=project.id, role=role, added_us=now_us)
    session.add(made)
    try:
        await session.flush()
    except IntegrityError:  # another transaction was quicker
        raise AlreadyExists(f"user {user_id} is in project {project.id} already") from None
    await key_access.tell(session, user_id, now_us, project_id=project.id)
    await _record(session, by, Event.USER_ADDED, project, None, (made, user), now_us)
    return made, user


async def set_role(
    session: AsyncSession, project: Project, user_id: str, role: ProjectRole, now_us: int, *, by: Actor
) -> ProjectMember:
    """Give a project's member another role in it. Raises as `add`."""
    _must_be_open(project)
    membership, user = await get_member(session, project, user_id)
    must_give(by, membership.role.role())
    must_give(by, role.role())
    if membership.role != role:
        before = _facts(membership, user)
        membership.role = role
        await _record(session, by, Event.USER_UPDATED, project, before, (membership, user), now_us)
    return membership, user


async def remove(session: AsyncSession, project: Project, user_id: str, now_us: int, *, by: Actor) -> None:
    """Take a member out of a project; they stay in the tenant. Raises as `add`."""
    _must_be_open(project)
    membership, user = await get_member(session, project, user_id)
    must_give(by, membership.role.role())
    before = _facts(membership, user)
    await session.delete(membership)
    await key_access.tell(session, user_id, now_us, project_id=project.id)
    await _record(session, by, Event.USER_DELETED, project, before, None, now_us, user_id)


def _must_be_open(project: Project) -> None:
    if project.state == ProjectState.ARCHIVED:
        raise Refused(f"project {project.id} is archived: its members stay as they are")


async def _record(
    session: AsyncSession,
    by: Actor,
    event: Event,
    project: Project,
    before: audit.Facts | None,
    after: ProjectMember | None,
    now_us: int,
    user_id: str = "",
) -> None:
    subject = Subject(user_id or (after[1].id if after else ""), project.tenant_id, project.id)
    facts = None if after is None else _facts(*after)
    await audit.record(session, by, event, subject, before, facts, now_us)


def _facts(membership: ProjectMembership, user: User) -> audit.Facts:
    return {**facts_of(membership), "email": user.email}
