"""/v1/organization/invites: invites into a tenant, in OpenAI's shapes.

Beside those, `metergate_role` (admin/api/organization_users.py) and, in the answer of who makes one, `token`:
what the invited person accepts it with. It is shown this once.
"""

from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from admin import letters
from admin.api.organization_users import (
    US_PER_SECOND,
    After,
    Limit,
    Reading,
    Writing,
    edges,
    openai_role,
)
from admin.auth import Here
from admin.schemas import MemberRole
from admin.within import Organization, organization_of
from ledger import invites, tenancy
from ledger.invites import InviteStatus
from ledger.project_roles import PROJECTS_MAX, ProjectGrants, ProjectRole
from ledger.roles import Role
from ledger.tables.people import Invite

router = APIRouter(tags=["organization: invites"])


class InviteProject(BaseModel):
    """A project that the invite opens."""

    model_config = ConfigDict(extra="forbid")

    id: str
    role: ProjectRole


class OrganizationInvite(BaseModel):
    """OpenAI's `organization.invite`. Times are whole seconds since the Unix epoch."""

    object: Literal["organization.invite"] = "organization.invite"
    id: str
    email: str
    role: Literal["owner", "reader"]
    metergate_role: Annotated[Role, Field(description="The role itself; not part of OpenAI's shape")]
    status: InviteStatus
    created_at: int
    expires_at: int | None
    accepted_at: int | None
    projects: list[InviteProject]

    @classmethod
    def of(cls, invite: Invite, now_us: int) -> "OrganizationInvite":
        """The view of a row."""
        return cls(
            id=invite.id,
            email=invite.email,
            role=openai_role(invite.role),
            metergate_role=invite.role,
            status=invites.status_of(invite, now_us),
            created_at=invite.created_us // US_PER_SECOND,
            expires_at=invite.expires_us // US_PER_SECOND,
            accepted_at=None if invite.accepted_us is None else invite.accepted_us // US_PER_SECOND,
            projects=[InviteProject(id=project_id, role=role) for project_id, role in invite.projects.grants],
        )


class NewInvite(OrganizationInvite):
    """An invite just made: `token` is shown this once and kept nowhere."""

    token: str


class InviteOrder(BaseModel):
    """What a new invite is told. Without projects it opens none: we have no default project."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"email": "ann@example.com", "role": "reader"}}
    )

    email: Annotated[str, Field(min_length=1, max_length=1024, examples=["ann@example.com"])]
    role: MemberRole
    projects: Annotated[list[InviteProject], Field(max_length=PROJECTS_MAX)] = []


class InvitePage(BaseModel):
    """OpenAI's list: a page, and whether more follows `last_id`."""

    object: Literal["list"] = "list"
    data: list[OrganizationInvite]
    first_id: str | None
    last_id: str | None
    has_more: bool


class InviteDeleted(BaseModel):
    """OpenAI's confirmation."""

    object: Literal["organization.invite.deleted"] = "organization.invite.deleted"
    id: str
    deleted: bool = True


@router.get("/invites")
async def list_invites(
    plane: Here,
    actor: Reading,
    *,
    organization: Organization = None,
    limit: Limit = 20,
    after: After = None,
) -> InvitePage:
    """List the organization's invites, the oldest first, whatever became of them."""
    async with plane.database.read() as session:
        tenant_id = await organization_of(session, actor, organization)
        page = await invites.page(session, tenant_id, limit=limit, after=after)
    data = [OrganizationInvite.of(invite, plane.now_us()) for invite in page.rows]
    return InvitePage(data=data, has_more=page.has_more, **edges([invite.id for invite in data]))


@router.post("/invites")
async def create_invite(
    plane: Here, actor: Writing, body: InviteOrder, organization: Organization = None
) -> NewInvite:
    """Invite somebody into the organization. `token` is shown this once."""
    projects = ProjectGrants(tuple((project.id, project.role) for project in body.projects))
    now_us = plane.now_us()
    async with plane.database.write() as session:
        tenant_id = await organization_of(session, actor, organization)
        invite, token = await invites.create(
            session, plane.pepper, tenant_id, body.email, Role(body.role), projects, now_us, by=actor
        )
        tenant = await tenancy.get_tenant(session, tenant_id)
    await letters.send_invite(plane.letters, invite.email, tenant.name, token)
    return NewInvite(token=token, **OrganizationInvite.of(invite, now_us).model_dump())


@router.get("/invites/{invite_id}")
async def get_invite(
    plane: Here, actor: Reading, invite_id: str, organization: Organization = None
) -> OrganizationInvite:
    """Show an invite of the organization."""
    async with plane.database.read() as session:
        tenant_id = await organization_of(session, actor, organization)
        return OrganizationInvite.of(await invites.get(session, tenant_id, invite_id), plane.now_us())


@router.delete("/invites/{invite_id}")
async def delete_invite(
    plane: Here, actor: Writing, invite_id: str, organization: Organization = None
) -> InviteDeleted:
    """Take an invite back, unless it is accepted: its token works no more."""
    async with plane.database.write() as session:
        tenant_id = await organization_of(session, actor, organization)
        await invites.take_back(session, tenant_id, invite_id, plane.now_us(), by=actor)
    return InviteDeleted(id=invite_id)
