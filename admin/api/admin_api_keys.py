"""/v1/organization/admin_api_keys: the organization's keys of the control plane, in OpenAI's shapes.

A new key has the role of who makes it, within the organization: the operator makes owners. Keys that were
deleted are not shown; the operator's own keys are of no organization, and not here.
"""

from typing import Annotated, Literal, Self

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from admin.actors import Actor, may
from admin.api.object_lists import (
    US_PER_SECOND,
    Listed,
    ObjectList,
    OrderedListQuery,
    seconds,
    seconds_or_none,
)
from admin.auth import Here
from admin.schemas import Name
from admin.within import Organization, organization_of
from ledger import admin_keys, lists
from ledger.errors import NotFound
from ledger.roles import Permission, Role
from ledger.states import KeyState
from ledger.tables.tenancy import AdminKey

router = APIRouter(tags=["organization: admin API keys"])

Reading = Annotated[Actor, may(Permission.ADMIN_KEYS_READ)]
Writing = Annotated[Actor, may(Permission.ADMIN_KEYS_WRITE)]

EXPIRES_SECONDS_MAX = 31_536_000
"""A year: OpenAI's."""


class AdminKeyOwner(BaseModel):
    """Whose an admin key is: its own, since it acts by itself and has a role of its own."""

    type: Literal["user"] = "user"
    object: Literal["organization.user"] = "organization.user"
    id: str
    name: str
    created_at: int
    role: Annotated[str, Field(description="`owner`, `admin`, `billing` or `reader`")]


class AdminApiKey(Listed):
    """OpenAI's `organization.admin_api_key`. Times are whole seconds since the Unix epoch."""

    object: Literal["organization.admin_api_key"] = "organization.admin_api_key"
    name: str
    redacted_value: str
    created_at: int
    expires_at: int | None
    last_used_at: int | None
    owner: AdminKeyOwner

    @classmethod
    def of(cls, key: AdminKey, **more: str) -> Self:
        """The view of a row."""
        return cls(
            id=key.id,
            name=key.name,
            redacted_value=key.redacted,
            created_at=seconds(key.created_us),
            expires_at=seconds_or_none(key.expires_us),
            last_used_at=seconds_or_none(key.last_used_us),
            owner=AdminKeyOwner(id=key.id, name=key.name, created_at=seconds(key.created_us), role=key.role),
            **more,
        )


class NewAdminApiKey(AdminApiKey):
    """An admin key just made: `value` is the secret, shown this once."""

    value: str


class AdminApiKeyOrder(BaseModel):
    """What a new admin key is told."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"name": "Finance", "expires_in_seconds": 2_592_000}}
    )

    name: Annotated[Name, Field(strict=True)]
    expires_in_seconds: Annotated[
        int | None,
        Field(strict=True, ge=1, le=EXPIRES_SECONDS_MAX, description="Never, unless given"),
    ] = None


class DeletedAdminApiKey(BaseModel):
    """That an admin key is gone."""

    id: str
    object: Literal["organization.admin_api_key.deleted"] = "organization.admin_api_key.deleted"
    deleted: Literal[True] = True


@router.get("/admin_api_keys")
async def list_admin_api_keys(
    plane: Here,
    actor: Reading,
    query: Annotated[OrderedListQuery, Query()],
    organization: Organization = None,
) -> ObjectList[AdminApiKey]:
    """List the organization's admin keys."""
    async with plane.database.read() as session:
        tenant_id = await organization_of(session, actor, organization)
        page = await lists.admin_keys(session, tenant_id, query.wish(), only_project_id=actor.project_id)
    return ObjectList.of([AdminApiKey.of(row) for row in page.rows], has_more=page.has_more)


@router.post("/admin_api_keys")
async def create_admin_api_key(
    plane: Here, actor: Writing, body: AdminApiKeyOrder, organization: Organization = None
) -> NewAdminApiKey:
    """Make an admin key. The answer holds the secret, this once."""
    now = plane.now_us()
    lifetime = body.expires_in_seconds
    async with plane.database.write() as session:
        tenant_id = await organization_of(session, actor, organization)
        key, secret = await admin_keys.create_admin_key(
            session,
            plane.pepper,
            body.name,
            now,
            role=Role.OWNER if actor.role is Role.OPERATOR else actor.role,
            tenant_id=tenant_id,
            expires_us=None if lifetime is None else now + lifetime * US_PER_SECOND,
            by=actor,
        )
        return NewAdminApiKey.of(key, value=secret)


@router.get("/admin_api_keys/{admin_key_id}")
async def get_admin_api_key(
    plane: Here, actor: Reading, admin_key_id: str, organization: Organization = None
) -> AdminApiKey:
    """Show an admin key, without its secret."""
    async with plane.database.read() as session:
        tenant_id = await organization_of(session, actor, organization)
        key = await admin_keys.get_admin_key(session, admin_key_id, actor)
        _check(key, tenant_id)
        return AdminApiKey.of(key)


@router.delete("/admin_api_keys/{admin_key_id}")
async def delete_admin_api_key(
    plane: Here, actor: Writing, admin_key_id: str, organization: Organization = None
) -> DeletedAdminApiKey:
    """End an admin key for good, at once."""
    async with plane.database.write() as session:
        tenant_id = await organization_of(session, actor, organization)
        _check(await admin_keys.get_admin_key(session, admin_key_id, actor), tenant_id)
        await admin_keys.revoke_admin_key(session, admin_key_id, plane.now_us(), by=actor)
    return DeletedAdminApiKey(id=admin_key_id)


def _check(key: AdminKey, tenant_id: str) -> None:
    """Raises NotFound for a key that is gone, and for another organization's."""
    if key.tenant_id != tenant_id or key.state == KeyState.REVOKED:
        raise NotFound("admin key", key.id)
