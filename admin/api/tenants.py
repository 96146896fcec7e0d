"""/admin/v1/tenants and /admin/v1/projects: who pays, and in which parts."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from admin.actors import Actor, may
from admin.api.responses import Listing, Wanted
from admin.auth import Here, Plane
from admin.restrictions import ProjectRestrictions
from admin.schemas import Name, ProjectView, TenantView
from admin.within import project_of, tenant_of
from ledger import tenancy
from ledger.roles import Permission
from ledger.states import OutagePolicy, ProjectState, TenantState

router = APIRouter()

ReadingTenants = Annotated[Actor, may(Permission.TENANTS_READ)]
WritingTenants = Annotated[Actor, may(Permission.TENANTS_WRITE)]
Reading = Annotated[Actor, may(Permission.PROJECTS_READ)]
Writing = Annotated[Actor, may(Permission.PROJECTS_WRITE)]


class TenantChange(BaseModel):
    """What a tenant may be told later."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"outage_policy": "fail_open"}})

    outage_policy: OutagePolicy = Field(
        OutagePolicy.FAIL_CLOSED,
        description=(
            "What becomes of a call that the leases in hand do not cover while the ledger does not answer: "
            "refused with 503 (`fail_closed`), or admitted and posted later (`fail_open`)."
        ),
    )


class TenantOrder(TenantChange):
    """What a new tenant is told."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"name": "Acme"}})

    name: Name


class ProjectChange(ProjectRestrictions):
    """What a project is told from now on."""

    name: Annotated[Name | None, Field(description="Null: as it was")] = None


class ProjectOrder(ProjectRestrictions):
    """What a new project is told."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"name": "Search"}})

    name: Name


@router.get("/tenants", tags=["tenants"])
async def list_tenants(plane: Here, actor: ReadingTenants, wanted: Wanted) -> Listing[TenantView]:
    """List the tenants, the oldest first."""
    async with plane.database.read() as session:
        page = await tenancy.page_tenants(session, wanted, actor.tenant_id)
    return Listing[TenantView].of(page, TenantView.of)


@router.post("/tenants", status_code=201, tags=["tenants"])
async def create_tenant(plane: Here, actor: WritingTenants, body: TenantOrder) -> TenantView:
    """Make a tenant."""
    async with plane.database.write() as session:
        tenant = await tenancy.create_tenant(
            session, body.name, plane.now_us(), outage_policy=body.outage_policy, by=actor
        )
        return TenantView.of(tenant)


@router.get("/tenants/{tenant_id}", tags=["tenants"])
async def get_tenant(plane: Here, actor: ReadingTenants, tenant_id: str) -> TenantView:
    """Show a tenant."""
    async with plane.database.read() as session:
        return TenantView.of(await tenant_of(session, actor, tenant_id))


@router.patch("/tenants/{tenant_id}", tags=["tenants"])
async def update_tenant(plane: Here, actor: WritingTenants, tenant_id: str, body: TenantChange) -> TenantView:
    """Change a tenant, within a second. What is left out stays."""
    async with plane.database.write() as session:
        tenant = await tenant_of(session, actor, tenant_id)
        if "outage_policy" in body.model_fields_set:
            await tenancy.set_outage_policy(session, tenant_id, body.outage_policy, plane.now_us(), by=actor)
        return TenantView.of(tenant)


@router.post("/tenants/{tenant_id}/block", tags=["tenants"])
async def block_tenant(plane: Here, actor: WritingTenants, tenant_id: str) -> TenantView:
    """Refuse every call of a tenant, within a second, until it is unblocked."""
    return await _set_tenant(plane, actor, tenant_id, TenantState.BLOCKED)


@router.post("/tenants/{tenant_id}/unblock", tags=["tenants"])
async def unblock_tenant(plane: Here, actor: WritingTenants, tenant_id: str) -> TenantView:
    """Let a blocked tenant in again."""
    return await _set_tenant(plane, actor, tenant_id, TenantState.ACTIVE)


@router.get("/tenants/{tenant_id}/projects", tags=["projects"])
async def list_projects(plane: Here, actor: Reading, tenant_id: str, wanted: Wanted) -> Listing[ProjectView]:
    """List a tenant's projects, the oldest first."""
    async with plane.database.read() as session:
        await tenant_of(session, actor, tenant_id)
        page = await tenancy.page_projects(session, wanted, tenant_id=tenant_id, project_id=actor.project_id)
    return Listing[ProjectView].of(page, ProjectView.of)


@router.post("/tenants/{tenant_id}/projects", status_code=201, tags=["projects"])
async def create_project(plane: Here, actor: Writing, tenant_id: str, body: ProjectOrder) -> ProjectView:
    """Make a project of a tenant."""
    async with plane.database.write() as session:
        await tenant_of(session, actor, tenant_id)
        project = await tenancy.create_project(
            session, tenant_id, body.name, plane.now_us(), model_permissions=body.models(), by=actor
        )
        return ProjectView.of(project)


@router.get("/projects", tags=["projects"])
async def list_all_projects(
    plane: Here,
    actor: Reading,
    wanted: Wanted,
    tenant_id: Annotated[str | None, Query(description="Only this tenant's")] = None,
) -> Listing[ProjectView]:
    """List the projects that you see, the oldest first."""
    async with plane.database.read() as session:
        if actor.tenant_id is not None:  # the operator may ask for what is not there
            tenant_id = (await tenant_of(session, actor, tenant_id or actor.tenant_id)).id
        page = await tenancy.page_projects(session, wanted, tenant_id=tenant_id, project_id=actor.project_id)
    return Listing[ProjectView].of(page, ProjectView.of)


@router.get("/projects/{project_id}", tags=["projects"])
async def get_project(plane: Here, actor: Reading, project_id: str) -> ProjectView:
    """Show a project."""
    async with plane.database.read() as session:
        return ProjectView.of(await project_of(session, actor, project_id))


@router.patch("/projects/{project_id}", tags=["projects"])
async def update_project(plane: Here, actor: Writing, project_id: str, body: ProjectChange) -> ProjectView:
    """Change a project's name, or what its keys may do, within a second. What is left out stays; null takes a
    restriction away.
    """
    async with plane.database.write() as session:
        project = await project_of(session, actor, project_id)
        if body.name is not None:
            await tenancy.rename_project(session, project_id, body.name, plane.now_us(), by=actor)
        if "model_permissions" in body.model_fields_set:
            await tenancy.set_project_models(session, project_id, body.models(), plane.now_us(), by=actor)
        return ProjectView.of(project)


@router.post("/projects/{project_id}/block", tags=["projects"])
async def block_project(plane: Here, actor: Writing, project_id: str) -> ProjectView:
    """Refuse every call of a project, within a second, until it is unblocked."""
    return await _set_project(plane, actor, project_id, ProjectState.BLOCKED)


@router.post("/projects/{project_id}/unblock", tags=["projects"])
async def unblock_project(plane: Here, actor: Writing, project_id: str) -> ProjectView:
    """Let a blocked project in again."""
    return await _set_project(plane, actor, project_id, ProjectState.ACTIVE)


@router.post("/projects/{project_id}/archive", tags=["projects"])
async def archive_project(plane: Here, actor: Writing, project_id: str) -> ProjectView:
    """End a project for good; its usage stays in the book."""
    return await _set_project(plane, actor, project_id, ProjectState.ARCHIVED)


async def _set_tenant(plane: Plane, actor: Actor, tenant_id: str, state: TenantState) -> TenantView:
    async with plane.database.write() as session:
        await tenant_of(session, actor, tenant_id)
        return TenantView.of(
            await tenancy.set_tenant_state(session, tenant_id, state, plane.now_us(), by=actor)
        )


async def _set_project(plane: Plane, actor: Actor, project_id: str, state: ProjectState) -> ProjectView:
    async with plane.database.write() as session:
        await project_of(session, actor, project_id)
        return ProjectView.of(
            await tenancy.set_project_state(session, project_id, state, plane.now_us(), by=actor)
        )
