"""/admin/v1/.../keys: the API keys of projects."""

from typing import Annotated, Protocol

from fastapi import APIRouter
from sqlalchemy.ext.asyncio import AsyncSession

from admin.actors import Actor, may
from admin.api.responses import Listing
from admin.auth import Here, Plane
from admin.restrictions import KeyRestrictions
from admin.schemas import Expiry, KeyView, Name, NewKey
from admin.times import parse_expiry
from admin.within import key_of, project_of
from ledger import tenancy
from ledger.roles import Permission
from ledger.tables.tenancy import ApiKey

router = APIRouter(tags=["keys"])

Reading = Annotated[Actor, may(Permission.KEYS_READ)]
Writing = Annotated[Actor, may(Permission.KEYS_WRITE)]


class KeyOrder(KeyRestrictions):
    """What a new key is told."""

    name: Name = "API key"
    expires: Expiry = None


@router.get("/projects/{project_id}/keys")
async def list_keys(plane: Here, actor: Reading, project_id: str) -> Listing[KeyView]:
    """List a project's keys, the oldest first, without their secrets."""
    async with plane.database.read() as session:
        await project_of(session, actor, project_id)
        keys = await tenancy.list_api_keys(session, project_id=project_id)
    return Listing(data=[KeyView.of(key) for key in keys])


@router.post("/projects/{project_id}/keys", status_code=201)
async def create_key(plane: Here, actor: Writing, project_id: str, body: KeyOrder) -> NewKey:
    """Make a key. The answer holds the secret, this once."""
    now = plane.now_us()
    expires_us = None if body.expires is None else parse_expiry(body.expires, now)
    async with plane.database.write() as session:
        await project_of(session, actor, project_id)
        key, secret = await tenancy.create_api_key(
            session,
            plane.pepper,
            project_id,
            body.name,
            now,
            expires_us,
            model_permissions=body.models(),
            scopes=body.key_scopes(),
            networks=body.networks(),
            by=actor,
        )
        return NewKey.made(key, secret)


@router.get("/keys/{key_id}")
async def get_key(plane: Here, actor: Reading, key_id: str) -> KeyView:
    """Show a key, without its secret."""
    async with plane.database.read() as session:
        return KeyView.of(await key_of(session, actor, key_id))


@router.patch("/keys/{key_id}")
async def update_key(plane: Here, actor: Writing, key_id: str, body: KeyRestrictions) -> KeyView:
    """Change what a key may do, within a second. What is left out stays; null takes a restriction away."""
    now, told = plane.now_us(), body.model_fields_set
    async with plane.database.write() as session:
        key = await key_of(session, actor, key_id)
        if "model_permissions" in told:
            await tenancy.set_key_models(session, key_id, body.models(), now, by=actor)
        if "scopes" in told:
            await tenancy.set_key_scopes(session, key_id, body.key_scopes(), now, by=actor)
        if "cidrs" in told:
            await tenancy.set_key_networks(session, key_id, body.networks(), now, by=actor)
        return KeyView.of(key)


@router.post("/keys/{key_id}/revoke")
async def revoke_key(plane: Here, actor: Writing, key_id: str) -> KeyView:
    """End a key for good, within a second."""
    return await _change(plane, actor, key_id, tenancy.revoke_api_key)


@router.post("/keys/{key_id}/block")
async def block_key(plane: Here, actor: Writing, key_id: str) -> KeyView:
    """Refuse a key, within a second, until it is unblocked."""
    return await _change(plane, actor, key_id, tenancy.block_api_key)


@router.post("/keys/{key_id}/unblock")
async def unblock_key(plane: Here, actor: Writing, key_id: str) -> KeyView:
    """Let a blocked key in again."""
    return await _change(plane, actor, key_id, tenancy.unblock_api_key)


class _Change(Protocol):
    async def __call__(self, session: AsyncSession, key_id: str, now_us: int, *, by: Actor) -> ApiKey: ...


async def _change(plane: Plane, actor: Actor, key_id: str, change: _Change) -> KeyView:
    async with plane.database.write() as session:
        await key_of(session, actor, key_id)
        return KeyView.of(await change(session, key_id, plane.now_us(), by=actor))
