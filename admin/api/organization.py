"""/v1/organization/projects: OpenAI's Administration API, in its exact shapes.

A tenant is an organization. A tenant's key acts on its own. The operator's acts on any of them: the header
OpenAI-Organization says which, and where there is only one it may be left out. What has no counterpart in
the ledger is null, never invented; what OpenAI takes and we have not is refused, never ignored.
"""

from typing import Annotated, Literal, Self

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from admin.actors import Actor, may
from admin.api.object_lists import Listed, ListQuery, ObjectList, seconds, seconds_or_none
from admin.auth import Here
from admin.schemas import Name
from admin.within import Organization, organization_of, project_in
from ledger import lists, tenancy
from ledger.roles import Permission
from ledger.states import ProjectState
from ledger.tables.tenancy import Project

router = APIRouter(tags=["organization: projects"])

Reading = Annotated[Actor, may(Permission.PROJECTS_READ)]
Writing = Annotated[Actor, may(Permission.PROJECTS_WRITE)]

NotHere = Annotated[None, Field(description="OpenAI's alone: refused unless it is null")]
Named = Annotated[Name, Field(strict=True)]


class OrganizationProject(Listed):
    """OpenAI's `organization.project`. Times are whole seconds since the Unix epoch."""

    object: Literal["organization.project"] = "organization.project"
    name: str
    created_at: int
    archived_at: int | None
    status: Annotated[str, Field(description="`active`, `archived`, or `blocked`, which OpenAI has not")]
    external_key_id: None = None

    @classmethod
    def of(cls, project: Project) -> Self:
        """The view of a row."""
        return cls(
            id=project.id,
            name=project.name,
            created_at=seconds(project.created_us),
            archived_at=seconds_or_none(project.archived_us),
            status=project.state,
        )


class ProjectOrder(BaseModel):
    """What a new project is told."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"name": "Chat"}})

    name: Named
    external_key_id: NotHere = None
    residency: NotHere = None


class ProjectChange(BaseModel):
    """What a project is told later. Null is as good as left out."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"name": "Chat of Europe"}})

    name: Named | None = None
    external_key_id: NotHere = None


class ProjectListQuery(ListQuery):
    """How projects are asked for."""

    include_archived: bool = False


@router.get("/projects")
async def list_projects(
    plane: Here,
    actor: Reading,
    query: Annotated[ProjectListQuery, Query()],
    organization: Organization = None,
) -> ObjectList[OrganizationProject]:
    """List the organization's projects, the oldest first."""
    async with plane.database.read() as session:
        tenant_id = await organization_of(session, actor, organization)
        page = await lists.projects(
            session, tenant_id, query.wish(), only_id=actor.project_id, archived=query.include_archived
        )
    return ObjectList.of([OrganizationProject.of(row) for row in page.rows], has_more=page.has_more)


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
        return OrganizationProject.of(await project_in(session, actor, project_id, organization))


@router.post("/projects/{project_id}")
async def modify_project(
    plane: Here, actor: Writing, project_id: str, body: ProjectChange, organization: Organization = None
) -> OrganizationProject:
    """Call a project otherwise."""
    async with plane.database.write() as session:
        project = await project_in(session, actor, project_id, organization)
        if body.name is not None:
            await tenancy.rename_project(session, project.id, body.name, plane.now_us(), by=actor)
        return OrganizationProject.of(project)


@router.post("/projects/{project_id}/archive")
async def archive_project(
    plane: Here, actor: Writing, project_id: str, organization: Organization = None
) -> OrganizationProject:
    """End a project for good, and with it its keys; its usage stays in the book."""
    async with plane.database.write() as session:
        project = await project_in(session, actor, project_id, organization)
        return OrganizationProject.of(
            await tenancy.set_project_state(
                session, project.id, ProjectState.ARCHIVED, plane.now_us(), by=actor
            )
        )
