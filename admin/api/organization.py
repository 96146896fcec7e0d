"""/v1/organization: OpenAI's Administration API, in its exact shapes. So far the projects.

A tenant is an organization. A tenant's key acts on its own. The operator's acts on any of them: the header
OpenAI-Organization says which, and where there is only one it may be left out. What has no counterpart in
the ledger yet is null, never invented.
"""

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict
from sqlalchemy.ext.asyncio import AsyncSession

from admin.actors import Actor, may
from admin.auth import Here
from admin.schemas import Name
from admin.within import Organization, organization_of, project_of
from ledger import tenancy
from ledger.errors import NotFound
from ledger.roles import Permission
from ledger.states import ProjectState
from ledger.tables.tenancy import Project

US_PER_SECOND = 1_000_000

router = APIRouter(tags=["organization"])

Reading = Annotated[Actor, may(Permission.PROJECTS_READ)]
Writing = Annotated[Actor, may(Permission.PROJECTS_WRITE)]


class OrganizationProject(BaseModel):
    """OpenAI's `organization.project`. Times are whole seconds since the Unix epoch."""

    id: str
    object: Literal["organization.project"] = "organization.project"
    name: str
    created_at: int
    archived_at: int | None = None
    status: str

    @classmethod
    def of(cls, project: Project) -> "OrganizationProject":
        """The view of a row."""
        return cls(
            id=project.id,
            name=project.name,
            created_at=project.created_us // US_PER_SECOND,
            status=project.state,
        )


class ProjectPage(BaseModel):
    """OpenAI's list: a page, and whether more follows `last_id`."""

    object: Literal["list"] = "list"
    data: list[OrganizationProject]
    first_id: str | None
    last_id: str | None
    has_more: bool


class ProjectOrder(BaseModel):
    """What a new project is told; what OpenAI takes beside the name and we have not is refused."""

    model_config = ConfigDict(extra="forbid")

    name: Name


@router.get("/projects")
async def list_projects(
    plane: Here,
    actor: Reading,
    *,
    organization: Organization = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    after: str | None = None,
    include_archived: bool = False,
) -> ProjectPage:
    """List the organization's projects, the oldest first."""
    async with plane.database.read() as session:
        tenant_id = await organization_of(session, actor, organization)
        projects = await tenancy.list_projects(session, tenant_id)
    projects = [project for project in projects if actor.sees(project.tenant_id, project.id)]
    if not include_archived:
        projects = [project for project in projects if project.state != ProjectState.ARCHIVED]
    begin = 0
    if after is not None:
        ids = [project.id for project in projects]
        if after not in ids:
            raise NotFound("project", after)
        begin = ids.index(after) + 1
    page = [OrganizationProject.of(project) for project in projects[begin : begin + limit]]
    return ProjectPage(
        data=page,
        first_id=page[0].id if page else None,
        last_id=page[-1].id if page else None,
        has_more=begin + limit < len(projects),
    )


@router.post("/projects")
async def create_project(
    plane: Here, actor: Writing, body: ProjectOrder, organization: Organization = None
) -> OrganizationProject:
    """Make a project in the organization."""
    async with plane.database.write() as session:
        tenant_id = await organization_of(session, actor, organization)
        return OrganizationProject.of(
            await tenancy.create_project(session, tenant_id, body.name, plane.now_us(), by=actor)
        )


@router.get("/projects/{project_id}")
async def get_project(
    plane: Here, actor: Reading, project_id: str, organization: Organization = None
) -> OrganizationProject:
    """Show a project of the organization."""
    async with plane.database.read() as session:
        return OrganizationProject.of(await _project_of(session, actor, project_id, organization))


@router.post("/projects/{project_id}/archive")
async def archive_project(
    plane: Here, actor: Writing, project_id: str, organization: Organization = None
) -> OrganizationProject:
    """End a project for good; its usage stays in the book."""
    async with plane.database.write() as session:
        await _project_of(session, actor, project_id, organization)
        return OrganizationProject.of(
            await tenancy.set_project_state(
                session, project_id, ProjectState.ARCHIVED, plane.now_us(), by=actor
            )
        )


async def _project_of(
    session: AsyncSession, actor: Actor, project_id: str, organization: str | None
) -> Project:
    """A project of this organization; another's is as good as none."""
    tenant_id = await organization_of(session, actor, organization)
    project = await project_of(session, actor, project_id)
    if project.tenant_id != tenant_id:
        raise NotFound("project", project_id)
    return project
