"""Invites into a tenant: made, listed, taken back, accepted once by whoever has the token.

A token proves that somebody got the invite, and nothing of the e-mail account behind the address. So it
makes a user where there is none; who is a user already has to show their own password, too
(ledger/logins.py): a tenant that invites somebody can never become them.
"""

from enum import StrEnum
from typing import Final

from sqlalchemy import select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from ledger import audit, key_access, memberships, tenancy, tokens, users
from ledger.actors import Actor
from ledger.audit import Subject
from ledger.audit_events import Event
from ledger.audit_facts import facts_of
from ledger.emails import parse_email
from ledger.errors import AlreadyExists, NotFound, Refused, TokenRefused
from ledger.ids import new_id
from ledger.object_pages import ObjectPage
from ledger.project_roles import ProjectGrants
from ledger.roles import Role
from ledger.sessions import Origin
from ledger.states import ProjectState
from ledger.tables.people import Invite, Membership, ProjectMembership, User
from ledger.tables.tenancy import Project
from ledger.tokens import Purpose

LIFE_US: Final = 7 * 86_400_000_000  # as long as OpenAI's


class InviteStatus(StrEnum):
    """As OpenAI names them."""

    ACCEPTED = "accepted"
    EXPIRED = "expired"
    PENDING = "pending"


def status_of(invite: Invite, now_us: int) -> InviteStatus:
    """What an invite is by now."""
    if invite.accepted_us is not None:
        return InviteStatus.ACCEPTED
    return InviteStatus.EXPIRED if invite.expires_us <= now_us else InviteStatus.PENDING


async def create(
    session: AsyncSession,
    pepper: bytes,
    tenant_id: str,
    email: str,
    role: Role,
    projects: ProjectGrants,
    now_us: int,
    *,
    by: Actor,
) -> tuple[Invite, str]:
    """A new invite and its token, which is shown once and kept nowhere.

    Raises NotFound for the tenant or a project of it, Denied for a role that `by` may not give,
    AlreadyExists for who is a member or invited already, Refused for the address and for an archived project.
    """
    memberships.must_give(by, role)
    for _, project_role in projects.grants:
        memberships.must_give(by, project_role.role())
    address = parse_email(email)
    await tenancy.get_tenant(session, tenant_id)
    await _must_be_new(session, tenant_id, address, now_us)
    for project_id, _ in projects.grants:
        project = await session.get(Project, project_id)
        if project is None or project.tenant_id != tenant_id:
            raise NotFound("project", project_id)
        if project.state == ProjectState.ARCHIVED:
            raise Refused(f"project {project_id} is archived: it takes no new members")
    secret = tokens.mint()
    invite = Invite(
        id=new_id("invite-"),
        tenant_id=tenant_id,
        email=address,
        role=role,
        projects=projects,
        digest=tokens.digest(pepper, Purpose.INVITE, secret),
        created_us=now_us,
        expires_us=now_us + LIFE_US,
    )
    session.add(invite)
    await _record(session, by, Event.INVITE_SENT, invite, None, facts_of(invite), now_us)
    return invite, tokens.written(invite.id, secret)


async def get(session: AsyncSession, tenant_id: str, invite_id: str) -> Invite:
    """Raises NotFound, for another tenant's, too."""
    invite = await session.get(Invite, invite_id)
    if invite is None or invite.tenant_id != tenant_id:
        raise NotFound("invite", invite_id)
    return invite


async def page(
    session: AsyncSession, tenant_id: str, *, limit: int, after: str | None = None
) -> ObjectPage[Invite]:
    """A tenant's invites, the oldest first, from behind `after` on. Raises NotFound for `after`."""
    query = (
        select(Invite)
        .where(col(Invite.tenant_id) == tenant_id)
        .order_by(col(Invite.created_us), col(Invite.id))
        .limit(limit + 1)
    )
    if after is not None:
        last = await get(session, tenant_id, after)
        query = query.where(tuple_(col(Invite.created_us), col(Invite.id)) > tuple_(last.created_us, last.id))
    return ObjectPage.of((await session.execute(query)).scalars().all(), limit)


async def take_back(session: AsyncSession, tenant_id: str, invite_id: str, now_us: int, *, by: Actor) -> None:
    """Delete an invite, whose token works no more. Raises NotFound, Denied, Refused once it is
    accepted.
    """
    await get(session, tenant_id, invite_id)
    held = select(Invite).where(col(Invite.id) == invite_id).with_for_update()
    invite = (await session.execute(held.execution_options(populate_existing=True))).scalar_one()
    memberships.must_give(by, invite.role)
    if invite.accepted_us is not None:
        raise Refused(f"invite {invite_id} is accepted: remove the user instead")
    before = facts_of(invite)
    await session.delete(invite)
    await _record(session, by, Event.INVITE_DELETED, invite, before, None, now_us)


async def of_token(session: AsyncSession, pepper: bytes, text: str, now_us: int) -> Invite:
    """The invite of a token that works. Raises TokenRefused."""
    token = tokens.read(text)
    invite = None if token is None else await session.get(Invite, token.subject_id)
    if (
        token is None
        or invite is None
        or not tokens.is_same(invite.digest, tokens.digest(pepper, Purpose.INVITE, token.secret))
        or status_of(invite, now_us) is not InviteStatus.PENDING
    ):
        raise TokenRefused("invite")
    return invite


async def accept(
    session: AsyncSession, invite: Invite, user: User, now_us: int, *, origin: Origin
) -> Membership:
    """Make the user what the invite says, once. A project that was archived since stays as it is; who became
    a member in another way keeps what they are. Raises TokenRefused where another was quicker.
    """
    accepting = (
        update(Invite)
        .where(
            col(Invite.id) == invite.id,
            col(Invite.accepted_us).is_(None),
            col(Invite.expires_us) > now_us,
        )
        .values(accepted_us=now_us)
    )
    if (await session.execute(accepting)).rowcount != 1:  # type: ignore[attr-defined]
        raise TokenRefused("invite")
    membership = await session.get(Membership, (user.id, invite.tenant_id))
    if membership is None:
        membership = Membership(
            user_id=user.id, tenant_id=invite.tenant_id, role=invite.role, added_us=now_us
        )
        session.add(membership)
        await users.void_resets(session, user.id)  # as in memberships.join
    await session.flush()
    for project_id, role in invite.projects.grants:
        project = await session.get(Project, project_id)
        known = await session.get(ProjectMembership, (user.id, project_id))
        if project is not None and project.state != ProjectState.ARCHIVED and known is None:
            session.add(ProjectMembership(user_id=user.id, project_id=project_id, role=role, added_us=now_us))
    await key_access.tell(session, user.id, now_us, tenant_id=invite.tenant_id)
    by = memberships.actor_of(user, membership.role, invite.tenant_id, origin)
    facts = {"user_id": user.id, **facts_of(invite)}
    await _record(session, by, Event.INVITE_ACCEPTED, invite, None, facts, now_us)
    return membership


async def _must_be_new(session: AsyncSession, tenant_id: str, email: str, now_us: int) -> None:
    user = await users.find_user(session, email)
    if user is not None and await session.get(Membership, (user.id, tenant_id)) is not None:
        raise AlreadyExists(f"{email} is a member already")
    pending = select(col(Invite.id)).where(
        col(Invite.tenant_id) == tenant_id,
        col(Invite.email) == email,
        col(Invite.accepted_us).is_(None),
        col(Invite.expires_us) > now_us,
    )
    found = (await session.execute(pending.limit(1))).scalar_one_or_none()
    if found is not None:
        raise AlreadyExists(f"{email} is invited already: delete the invite {found} to make another")


async def _record(
    session: AsyncSession,
    by: Actor,
    event: Event,
    invite: Invite,
    before: audit.Facts | None,
    after: audit.Facts | None,
    now_us: int,
) -> None:
    subject = Subject(invite.id, invite.tenant_id)
    await audit.record(session, by, event, subject, before, after, now_us)
