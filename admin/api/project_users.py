"""/v1/organization/projects/{project_id}/users: who is in a project, in OpenAI's shapes.

A user has to be a member of the organization. What the two roles let them do: ledger/project_roles.py.
"""

from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from admin.api.organization_users import US_PER_SECOND, After, Limit, Reading, Writing, edges
from admin.auth import Here
from admin.within import Organization, project_in
from ledger import project_memberships
from ledger.errors import Refused
from ledger.project_memberships import ProjectMember
from ledger.project_roles import ProjectRole

router = APIRouter(tags=["organization: project users"])


class ProjectUser(BaseModel):
    """OpenAI's `organization.project.user`. Times are whole seconds since the Unix epoch."""

    object: Literal["organization.project.user"] = "organization.project.user"
    id: str
    name: str | None
    email: str | None
    role: ProjectRole
    added_at: int

    @classmethod
    def of(cls, member: ProjectMember) -> "ProjectUser":
        """The view of a member."""
        membership, user = member
        return cls(
            id=user.id,
            name=user.name,
            email=user.email,
            role=membership.role,
            added_at=membership.added_us // US_PER_SECOND,
        )


class ProjectUserPage(BaseModel):
    """OpenAI's list: a page, and whether more follows `last_id`."""

    object: Literal["list"] = "list"
    data: list[ProjectUser]
    first_id: str | None
    last_id: str | None
    has_more: bool


class ProjectUserOrder(BaseModel):
    """Who is put into a project: by id or by e-mail address."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"email": "ann@example.com", "role": "member"}}
    )

    user_id: str | None = None
    email: Annotated[str | None, Field(max_length=1024, examples=["ann@example.com"])] = None
    role: ProjectRole


class ProjectUserChange(BaseModel):
    """What somebody in a project may be told later."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"role": "owner"}})

    role: ProjectRole | None = None


class ProjectUserDeleted(BaseModel):
    """OpenAI's confirmation."""

    object: Literal["organization.project.user.deleted"] = "organization.project.user.deleted"
    id: str
    deleted: bool = True


@router.get("/projects/{project_id}/users")
async def list_project_users(
    plane: Here,
    actor: Reading,
    project_id: str,
    *,
    organization: Organization = None,
    limit: Limit = 20,
    after: After = None,
) -> ProjectUserPage:
    """List who is in the project, in the order they were added."""
    async with plane.database.read() as session:
        project = await project_in(session, actor, project_id, organization)
        page = await project_memberships.list_members(session, project, limit=limit, after=after)
    data = [ProjectUser.of(member) for member in page.rows]
    return ProjectUserPage(data=data, has_more=page.has_more, **edges([user.id for user in data]))


@router.post("/projects/{project_id}/users")
async def create_project_user(
    plane: Here,
    actor: Writing,
    project_id: str,
    body: ProjectUserOrder,
    organization: Organization = None,
) -> ProjectUser:
    """Put a user of the organization into the project."""
    if (body.user_id is None) == (body.email is None):
        raise Refused("name one of user_id and email")
    async with plane.database.write() as session:
        project = await project_in(session, actor, project_id, organization)
        user_id = body.user_id
        if user_id is None:
            user_id = (await project_memberships.find_candidate(session, project, body.email or "")).id
        return ProjectUser.of(
            await project_memberships.add(session, project, user_id, body.role, plane.now_us(), by=actor)
        )


@router.get("/projects/{project_id}/users/{user_id}")
async def get_project_user(
    plane: Here, actor: Reading, project_id: str, user_id: str, organization: Organization = None
) -> ProjectUser:
    """Show somebody in the project."""
    async with plane.database.read() as session:
        project = await project_in(session, actor, project_id, organization)
        return ProjectUser.of(await project_memberships.get_member(session, project, user_id))


@router.post("/projects/{project_id}/users/{user_id}")
async def update_project_user(
    plane: Here,
    actor: Writing,
    project_id: str,
    user_id: str,
    body: ProjectUserChange,
    organization: Organization = None,
) -> ProjectUser:
    """Give somebody in the project another role there."""
    async with plane.database.write() as session:
        project = await project_in(session, actor, project_id, organization)
        if body.role is None:
            return ProjectUser.of(await project_memberships.get_member(session, project, user_id))
        return ProjectUser.of(
            await project_memberships.set_role(session, project, user_id, body.role, plane.now_us(), by=actor)
        )


@router.delete("/projects/{project_id}/users/{user_id}")
async def delete_project_user(
    plane: Here, actor: Writing, project_id: str, user_id: str, organization: Organization = None
) -> ProjectUserDeleted:
    """Take a user out of the project; they stay in the organization."""
    async with plane.database.write() as session:
        project = await project_in(session, actor, project_id, organization)
        await project_memberships.remove(session, project, user_id, plane.now_us(), by=actor)
    return ProjectUserDeleted(id=user_id)
