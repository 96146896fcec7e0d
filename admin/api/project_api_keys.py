"""/v1/organization/projects/{id}/api_keys: the API keys of a project and their owners, in OpenAI's shapes.

They are made with a service account, or natively (/admin/v1/projects/{id}/keys). `last_used_at` is the start
of the key's latest call that is posted.
"""

from typing import Annotated, Literal, Self

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from admin.actors import Actor, may
from admin.api.object_lists import Listed, ListQuery, ObjectList, seconds, seconds_or_none
from admin.auth import Here
from admin.within import Organization, project_in
from ledger import key_owners, lists, tenancy
from ledger.errors import NotFound
from ledger.key_owners import Owner
from ledger.roles import Permission
from ledger.states import KeyState
from ledger.tables.tenancy import ApiKey

router = APIRouter(prefix="/projects/{project_id}/api_keys", tags=["organization: project API keys"])

Reading = Annotated[Actor, may(Permission.KEYS_READ)]
Writing = Annotated[Actor, may(Permission.KEYS_WRITE)]


class OwningServiceAccount(BaseModel):
    """A service account that owns a key."""

    id: str
    name: str
    created_at: int
    role: str


class OwningUser(BaseModel):
    """A user who owns a key; `role` is their part in the project: `owner`, `member` or `none`."""

    id: str
    email: str
    name: str
    created_at: int
    role: str


class ServiceAccountOwner(BaseModel):
    """Whose a key is: a program's."""

    type: Literal["service_account"]
    service_account: OwningServiceAccount


class UserOwner(BaseModel):
    """Whose a key is: a person's."""

    type: Literal["user"]
    user: OwningUser


def _view(owner: Owner) -> ServiceAccountOwner | UserOwner:
    created_at = seconds(owner.created_us)
    if owner.email is not None:
        user = OwningUser(
            id=owner.id, email=owner.email, name=owner.name, created_at=created_at, role=owner.role
        )
        return UserOwner(type="user", user=user)
    account = OwningServiceAccount(id=owner.id, name=owner.name, created_at=created_at, role=owner.role)
    return ServiceAccountOwner(type="service_account", service_account=account)


class ProjectApiKey(Listed):
    """OpenAI's `organization.project.api_key`, without its secret."""

    object: Literal["organization.project.api_key"] = "organization.project.api_key"
    redacted_value: str
    name: str
    created_at: int
    last_used_at: int | None
    owner_project_access: Literal["active", "inactive"]
    owner: ServiceAccountOwner | UserOwner

    @classmethod
    def of(cls, key: ApiKey, owner: Owner) -> Self:
        """The view of a row and its owner."""
        return cls(
            redacted_value=key.redacted,
            name=key.name,
            created_at=seconds(key.created_us),
            last_used_at=seconds_or_none(key.last_used_us),
            id=key.id,
            owner_project_access="active" if owner.has_access else "inactive",
            owner=_view(owner),
        )


class ProjectApiKeyQuery(ListQuery):
    """How keys are asked for."""

    owner_project_access: Annotated[
        Literal["active", "inactive", "any"],
        Field(description="Of owners that have a part in the project now, that have none, or of both"),
    ] = "any"


class DeletedProjectApiKey(BaseModel):
    """That a key is gone."""

    object: Literal["organization.project.api_key.deleted"] = "organization.project.api_key.deleted"
    id: str
    deleted: Literal[True] = True


_WITH_ACCESS = {"active": True, "inactive": False, "any": None}


@router.get("")
async def list_project_api_keys(
    plane: Here,
    actor: Reading,
    project_id: str,
    query: Annotated[ProjectApiKeyQuery, Query()],
    organization: Organization = None,
) -> ObjectList[ProjectApiKey]:
    """List a project's keys, the oldest first."""
    async with plane.database.read() as session:
        project = await project_in(session, actor, project_id, organization)
        page = await lists.api_keys(
            session, project.id, query.wish(), owner_has_access=_WITH_ACCESS[query.owner_project_access]
        )
        owners = await key_owners.owners_of(session, page.rows)
    return ObjectList.of([ProjectApiKey.of(key, owners[key.id]) for key in page.rows], has_more=page.has_more)


@router.get("/{api_key_id}")
async def get_project_api_key(
    plane: Here, actor: Reading, project_id: str, api_key_id: str, organization: Organization = None
) -> ProjectApiKey:
    """Show a key, without its secret."""
    async with plane.database.read() as session:
        project = await project_in(session, actor, project_id, organization)
        key = _of_project(await tenancy.get_api_key(session, api_key_id), project.id)
        return ProjectApiKey.of(key, (await key_owners.owners_of(session, [key]))[key.id])


@router.delete("/{api_key_id}")
async def delete_project_api_key(
    plane: Here, actor: Writing, project_id: str, api_key_id: str, organization: Organization = None
) -> DeletedProjectApiKey:
    """End a key for good, within a second; its usage stays in the book."""
    async with plane.database.write() as session:
        project = await project_in(session, actor, project_id, organization)
        key = _of_project(await tenancy.get_api_key(session, api_key_id), project.id)
        await tenancy.revoke_api_key(session, key.id, plane.now_us(), by=actor)
    return DeletedProjectApiKey(id=api_key_id)


def _of_project(key: ApiKey, project_id: str) -> ApiKey:
    """Raises NotFound for another project's key, and for one that is gone."""
    if key.project_id != project_id or key.state == KeyState.REVOKED:
        raise NotFound("key", key.id)
    return key
