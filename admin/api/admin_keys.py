"""/admin/v1/admin_keys: the keys of the control plane itself."""

from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from admin.actors import Actor, may
from admin.api.responses import Listing, Wanted
from admin.auth import Here
from admin.schemas import AdminKeyView, Expiry, Name, NewAdminKey
from admin.times import parse_expiry
from ledger import admin_keys
from ledger.roles import Permission, Role

router = APIRouter(tags=["admin keys"])

Reading = Annotated[Actor, may(Permission.ADMIN_KEYS_READ)]
Writing = Annotated[Actor, may(Permission.ADMIN_KEYS_WRITE)]


class AdminKeyOrder(BaseModel):
    """What a new admin key is told."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {"name": "Finance", "role": "billing", "tenant_id": "org-5QmXo2TbW8sYcVn1kD0ZrJ4e"}
        },
    )

    name: Name = "Admin key"
    role: Annotated[Role, Field(description="Not mightier than your own")]
    tenant_id: Annotated[
        str | None, Field(description="Whose, with every role but `operator`; your own, unless given")
    ] = None
    project_id: Annotated[str | None, Field(description="Limits the key to this project")] = None
    expires: Expiry = None


@router.get("/admin_keys")
async def list_admin_keys(plane: Here, actor: Reading, wanted: Wanted) -> Listing[AdminKeyView]:
    """List the admin keys, the oldest first, without their secrets: your tenant's, or your project's."""
    async with plane.database.read() as session:
        page = await admin_keys.page_admin_keys(session, wanted, actor)
    return Listing[AdminKeyView].of(page, AdminKeyView.of)


@router.post("/admin_keys", status_code=201)
async def create_admin_key(plane: Here, actor: Writing, body: AdminKeyOrder) -> NewAdminKey:
    """Make an admin key. The answer holds the secret, this once."""
    now = plane.now_us()
    expires_us = None if body.expires is None else parse_expiry(body.expires, now)
    async with plane.database.write() as session:
        key, secret = await admin_keys.create_admin_key(
            session,
            plane.pepper,
            body.name,
            now,
            role=body.role,
            tenant_id=body.tenant_id,
            project_id=body.project_id,
            expires_us=expires_us,
            by=actor,
        )
        return NewAdminKey.made(key, secret)


@router.get("/admin_keys/{admin_key_id}")
async def get_admin_key(plane: Here, actor: Reading, admin_key_id: str) -> AdminKeyView:
    """Show an admin key, without its secret."""
    async with plane.database.read() as session:
        return AdminKeyView.of(await admin_keys.get_admin_key(session, admin_key_id, actor))


@router.post("/admin_keys/{admin_key_id}/revoke")
async def revoke_admin_key(plane: Here, actor: Writing, admin_key_id: str) -> AdminKeyView:
    """End an admin key for good, at once. The last one that lets the operator in stays, and a tenant's own
    keys cannot end its last owner's.
    """
    async with plane.database.write() as session:
        key = await admin_keys.revoke_admin_key(session, admin_key_id, plane.now_us(), by=actor)
        return AdminKeyView.of(key)
