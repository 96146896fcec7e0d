"""/v1/organization/projects/{id}/service_accounts: programs that have keys, in OpenAI's shapes.

A role says whether an account is a part of its project: `owner` and `member` have the same keys, and one with
`none` has no key until it is given a role. OpenAI's scopes name endpoints as ours do, by other words: a key
takes ours.
"""

from typing import Annotated, Literal, Self

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from admin.actors import Actor, may
from admin.api.object_lists import Listed, ListQuery, ObjectList, seconds
from admin.auth import Here
from admin.restrictions import Scopes, scopes_of
from admin.schemas import Name
from admin.within import Organization, project_in
from ledger import service_accounts
from ledger.roles import Permission
from ledger.states import ServiceAccountRole
from ledger.tables.service_accounts import ServiceAccount
from ledger.tables.tenancy import ApiKey

router = APIRouter(prefix="/projects/{project_id}/service_accounts", tags=["organization: service accounts"])

Reading = Annotated[Actor, may(Permission.KEYS_READ)]
Writing = Annotated[Actor, may(Permission.KEYS_WRITE)]
Named = Annotated[Name, Field(strict=True)]


class ProjectServiceAccount(Listed):
    """OpenAI's `organization.project.service_account`."""

    object: Literal["organization.project.service_account"] = "organization.project.service_account"
    name: str
    role: ServiceAccountRole
    created_at: int

    @classmethod
    def of(cls, account: ServiceAccount) -> Self:
        """The view of a row."""
        return cls(
            id=account.id, name=account.name, role=account.role, created_at=seconds(account.created_us)
        )


class ServiceAccountKey(BaseModel):
    """A key just made: `value` is the secret, shown this once and kept nowhere."""

    object: Literal["organization.project.service_account.api_key"] = (
        "organization.project.service_account.api_key"
    )
    value: str
    name: str
    created_at: int
    id: str

    @classmethod
    def made(cls, key: ApiKey, secret: str) -> Self:
        """The view of a row and its secret."""
        return cls(value=secret, name=key.name, created_at=seconds(key.created_us), id=key.id)


class NewServiceAccount(ProjectServiceAccount):
    """An account just made, and its key; null where it was made without one."""

    api_key: ServiceAccountKey | None


class ServiceAccountOrder(BaseModel):
    """What a new account is told."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"name": "Nightly job"}})

    name: Named
    create_service_account_only: Annotated[
        bool | None, Field(strict=True, description="Without a role and a key")
    ] = None


class ServiceAccountChange(BaseModel):
    """What an account is told later; what is left out stays."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"name": "Hourly job"}})

    name: Named | None = None
    role: Literal["member", "owner"] | None = None


class ServiceAccountKeyOrder(BaseModel):
    """What a further key is told."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"name": "Second key", "scopes": ["chat.completions"]}},
    )

    name: Named = service_accounts.KEY_NAME
    scopes: Scopes = None


class DeletedServiceAccount(BaseModel):
    """That an account is gone."""

    object: Literal["organization.project.service_account.deleted"] = (
        "organization.project.service_account.deleted"
    )
    id: str
    deleted: Literal[True] = True


@router.get("")
async def list_service_accounts(
    plane: Here,
    actor: Reading,
    project_id: str,
    query: Annotated[ListQuery, Query()],
    organization: Organization = None,
) -> ObjectList[ProjectServiceAccount]:
    """List a project's service accounts, the oldest first."""
    async with plane.database.read() as session:
        project = await project_in(session, actor, project_id, organization)
        page = await service_accounts.read(session, project.id, query.wish())
    return ObjectList.of([ProjectServiceAccount.of(row) for row in page.rows], has_more=page.has_more)


@router.post("")
async def create_service_account(
    plane: Here,
    actor: Writing,
    project_id: str,
    body: ServiceAccountOrder,
    organization: Organization = None,
) -> NewServiceAccount:
    """Make a service account, and a key of it. The answer holds the secret, this once."""
    async with plane.database.write() as session:
        project = await project_in(session, actor, project_id, organization)
        made = await service_accounts.create(
            session,
            plane.pepper,
            project.id,
            body.name,
            plane.now_us(),
            with_key=not body.create_service_account_only,
            by=actor,
        )
        return NewServiceAccount(
            **ProjectServiceAccount.of(made.account).model_dump(),
            api_key=None if made.key is None else ServiceAccountKey.made(*made.key),
        )


@router.get("/{service_account_id}")
async def get_service_account(
    plane: Here, actor: Reading, project_id: str, service_account_id: str, organization: Organization = None
) -> ProjectServiceAccount:
    """Show a service account."""
    async with plane.database.read() as session:
        project = await project_in(session, actor, project_id, organization)
        return ProjectServiceAccount.of(await service_accounts.get(session, project.id, service_account_id))


@router.post("/{service_account_id}")
async def update_service_account(
    plane: Here,
    actor: Writing,
    project_id: str,
    service_account_id: str,
    body: ServiceAccountChange,
    organization: Organization = None,
) -> ProjectServiceAccount:
    """Change a service account."""
    async with plane.database.write() as session:
        project = await project_in(session, actor, project_id, organization)
        account = await service_accounts.get(session, project.id, service_account_id, to_change=True)
        role = None if body.role is None else ServiceAccountRole(body.role)
        await service_accounts.change(session, account, plane.now_us(), name=body.name, role=role, by=actor)
        return ProjectServiceAccount.of(account)


@router.delete("/{service_account_id}")
async def delete_service_account(
    plane: Here, actor: Writing, project_id: str, service_account_id: str, organization: Organization = None
) -> DeletedServiceAccount:
    """End a service account and all its keys for good, within a second."""
    async with plane.database.write() as session:
        project = await project_in(session, actor, project_id, organization)
        account = await service_accounts.get(session, project.id, service_account_id, to_change=True)
        await service_accounts.delete(session, account, plane.now_us(), by=actor)
    return DeletedServiceAccount(id=service_account_id)


@router.post("/{service_account_id}/api_keys")
async def create_service_account_key(
    plane: Here,
    actor: Writing,
    project_id: str,
    service_account_id: str,
    body: ServiceAccountKeyOrder,
    organization: Organization = None,
) -> ServiceAccountKey:
    """Make a further key of a service account. The answer holds the secret, this once."""
    async with plane.database.write() as session:
        project = await project_in(session, actor, project_id, organization)
        account = await service_accounts.get(session, project.id, service_account_id, to_change=True)
        key, secret = await service_accounts.create_key(
            session,
            plane.pepper,
            account,
            body.name,
            plane.now_us(),
            scopes=scopes_of(body.scopes),
            by=actor,
        )
        return ServiceAccountKey.made(key, secret)
