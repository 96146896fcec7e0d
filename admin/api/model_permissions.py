"""/v1/organization/projects/{id}/model_permissions: which models a project may call, in OpenAI's shape.

A project without a list may call every model: that is told as a list of none that may not be called. In a
name, `*` stands for any characters, which OpenAI has not.
"""

from typing import Annotated, Literal, Self

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from admin.actors import Actor, may
from admin.auth import Here
from admin.within import Organization, project_in
from ledger import tenancy
from ledger.permissions import PATTERNS_MAX, ModelPermissions, PermissionMode
from ledger.roles import Permission

router = APIRouter(
    prefix="/projects/{project_id}/model_permissions", tags=["organization: model permissions"]
)

Reading = Annotated[Actor, may(Permission.PROJECTS_READ)]
Writing = Annotated[Actor, may(Permission.PROJECTS_WRITE)]


class ProjectModelPermissions(BaseModel):
    """OpenAI's `project.model_permissions`."""

    object: Literal["project.model_permissions"] = "project.model_permissions"
    mode: PermissionMode
    model_ids: list[str]

    @classmethod
    def of(cls, permissions: ModelPermissions | None) -> Self:
        """The view of permissions; None is every model."""
        if permissions is None:
            return cls(mode=PermissionMode.DENY_LIST, model_ids=[])
        return cls(mode=permissions.mode, model_ids=list(permissions.patterns))


class ModelPermissionsOrder(BaseModel):
    """A list that takes the place of the one before."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"mode": "allow_list", "model_ids": ["llama-3.1-8b"]}}
    )

    mode: PermissionMode
    model_ids: Annotated[list[str], Field(strict=True, max_length=PATTERNS_MAX)]


class DeletedModelPermissions(BaseModel):
    """That there is no list any more; `deleted`: whether there was one."""

    object: Literal["project.model_permissions.deleted"] = "project.model_permissions.deleted"
    deleted: bool


@router.get("")
async def get_model_permissions(
    plane: Here, actor: Reading, project_id: str, organization: Organization = None
) -> ProjectModelPermissions:
    """Show which models a project may call."""
    async with plane.database.read() as session:
        project = await project_in(session, actor, project_id, organization)
        return ProjectModelPermissions.of(project.model_permissions)


@router.post("")
async def update_model_permissions(
    plane: Here,
    actor: Writing,
    project_id: str,
    body: ModelPermissionsOrder,
    organization: Organization = None,
) -> ProjectModelPermissions:
    """Say which models a project may call, within a second on every worker."""
    permissions = ModelPermissions(body.mode, tuple(body.model_ids))
    async with plane.database.write() as session:
        project = await project_in(session, actor, project_id, organization)
        await tenancy.set_project_models(session, project.id, permissions, plane.now_us(), by=actor)
    return ProjectModelPermissions.of(permissions)


@router.delete("")
async def delete_model_permissions(
    plane: Here, actor: Writing, project_id: str, organization: Organization = None
) -> DeletedModelPermissions:
    """Let a project call every model, within a second on every worker."""
    async with plane.database.write() as session:
        project = await project_in(session, actor, project_id, organization)
        there_was = project.model_permissions is not None
        await tenancy.set_project_models(session, project.id, None, plane.now_us(), by=actor)
    return DeletedModelPermissions(deleted=there_was)
