"""/admin/v1/.../keys: the API keys of projects."""

from typing import Annotated, Protocol

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.ext.asyncio import AsyncSession

from admin.actors import Actor, may
from admin.api.responses import Listing, Wanted
from admin.auth import Here, Plane
from admin.key_views import new_key, view_of, views_of
from admin.restrictions import KeyRestrictions, TagMap
from admin.schemas import Expiry, KeyView, Name, NewKey
from admin.times import parse_expiry, parse_grace
from admin.within import key_of, project_of, tenant_of
from ledger import key_owners, key_secrets, tenancy
from ledger.key_owners import KeyOwner
from ledger.key_settings import KeySettings, change_api_key
from ledger.places import Page
from ledger.roles import Permission
from ledger.tables.tenancy import ApiKey
from ledger.tags import Tags

router = APIRouter(tags=["keys"])

Reading = Annotated[Actor, may(Permission.KEYS_READ)]
Writing = Annotated[Actor, may(Permission.KEYS_WRITE)]


class KeyOrder(KeyRestrictions):
    """What a new key is told."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "name": "Search",
                "expires": "30d",
                "scopes": ["chat.completions"],
                "tags": {"team": "search"},
            }
        },
    )

    name: Name = "API key"
    expires: Expiry = None
    tags: TagMap | None = None
    owner: Annotated[
        str | None,
        Field(
            description="A user (`user-...`) or a service account (`svc_acct_...`) with a part in the"
            " project; null: the project itself. Unless given: the user whose session asks, or the project"
        ),
    ] = None


class KeyChange(KeyRestrictions):
    """What a key is told from now on."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"name": "Search", "cidrs": ["192.0.2.0/24"]}}
    )

    name: Annotated[Name | None, Field(description="Null: as it was")] = None
    expires: Expiry = None
    tags: Annotated[TagMap | None, Field(description="In place of those of before; null or {}: none")] = None
    owner: Annotated[
        str | None, Field(description="As for a new key; null: the project itself. Left out: as it was")
    ] = None

    def settings(self, now_us: int) -> KeySettings:
        """What is told, and nothing else. Raises Refused."""
        told, settings = self.model_fields_set, KeySettings()
        if self.name is not None:
            settings["name"] = self.name
        if "expires" in told:
            settings["expires_us"] = None if self.expires is None else parse_expiry(self.expires, now_us)
        if "model_permissions" in told:
            settings["model_permissions"] = self.models()
        if "scopes" in told:
            settings["scopes"] = self.key_scopes()
        if "cidrs" in told:
            settings["networks"] = self.networks()
        if "tags" in told:
            settings["tags"] = Tags.of(self.tags or {})
        return settings


class Rotation(BaseModel):
    """How a key is rotated."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"grace": "24h"}})

    grace: Annotated[
        str,
        Field(
            max_length=64,
            examples=["24h", "0"],
            description="How long the secret of before goes on: a duration (90s, 45m, 12h, 7d, 2w) of 90 days"
            " at most, or 0",
        ),
    ] = "24h"


@router.get("/projects/{project_id}/keys")
async def list_keys(plane: Here, actor: Reading, project_id: str, wanted: Wanted) -> Listing[KeyView]:
    """List a project's keys, the oldest first, without their secrets."""
    async with plane.database.read() as session:
        await project_of(session, actor, project_id)
        return await _listing(session, await tenancy.page_api_keys(session, wanted, project_id=project_id))


@router.post("/projects/{project_id}/keys", status_code=201)
async def create_key(plane: Here, actor: Writing, project_id: str, body: KeyOrder) -> NewKey:
    """Make a key. The answer holds the secret, this once."""
    now = plane.now_us()
    expires_us = None if body.expires is None else parse_expiry(body.expires, now)
    models, scopes, networks = body.models(), body.key_scopes(), body.networks()
    async with plane.database.write() as session:
        project = await project_of(session, actor, project_id)
        if "owner" in body.model_fields_set:
            owner: KeyOwner | None = await key_owners.chosen(session, project, body.owner, now)
        else:
            owner = await key_owners.of_maker(session, project, actor)
        key, secret = await tenancy.create_api_key(
            session,
            plane.pepper,
            project_id,
            body.name,
            now,
            expires_us,
            model_permissions=models,
            scopes=scopes,
            networks=networks,
            tags=Tags.of(body.tags or {}),
            by=actor,
            owner=owner,
        )
        return await new_key(session, key, secret)


@router.get("/keys")
async def list_all_keys(
    plane: Here,
    actor: Reading,
    wanted: Wanted,
    *,
    tenant_id: Annotated[str | None, Query(description="Only this tenant's")] = None,
    project_id: Annotated[str | None, Query(description="Only this project's")] = None,
) -> Listing[KeyView]:
    """List the keys that you see, the oldest first, without their secrets."""
    async with plane.database.read() as session:
        if actor.tenant_id is not None:  # the operator may ask for what is not there
            tenant_id = (await tenant_of(session, actor, tenant_id or actor.tenant_id)).id
            if project_id is not None:
                await project_of(session, actor, project_id)
        project_id = project_id or actor.project_id
        page = await tenancy.page_api_keys(session, wanted, project_id=project_id, tenant_id=tenant_id)
        return await _listing(session, page)


@router.get("/keys/{key_id}")
async def get_key(plane: Here, actor: Reading, key_id: str) -> KeyView:
    """Show a key, without its secret."""
    async with plane.database.read() as session:
        return await view_of(session, await key_of(session, actor, key_id))


@router.patch("/keys/{key_id}")
async def update_key(plane: Here, actor: Writing, key_id: str, body: KeyChange) -> KeyView:
    """Change what a key is told, within a second. What is left out stays; null takes an end, a restriction or
    the tags away.
    """
    now = plane.now_us()
    settings = body.settings(now)
    async with plane.database.write() as session:
        found = await key_of(session, actor, key_id)
        if "owner" in body.model_fields_set:
            project = await tenancy.get_project(session, found.project_id)
            settings["owner"] = await key_owners.chosen(session, project, body.owner, now)
        key = await change_api_key(session, key_id, settings, now, by=actor)
        return await view_of(session, key)


@router.post("/keys/{key_id}/rotate")
async def rotate_key(plane: Here, actor: Writing, key_id: str, body: Rotation | None = None) -> NewKey:
    """Give a key a new secret. The answer holds it, this once; the secret of before goes on until the grace
    ends, and one from before that ends now.
    """
    grace_us = key_secrets.checked_grace(parse_grace((body or Rotation()).grace))
    async with plane.database.write() as session:
        await key_of(session, actor, key_id)
        key, secret = await key_secrets.rotate(
            session, plane.pepper, key_id, grace_us, plane.now_us(), by=actor
        )
        return await new_key(session, key, secret)


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


async def _listing(session: AsyncSession, page: Page[ApiKey]) -> Listing[KeyView]:
    views = dict(zip((key.id for key in page.rows), await views_of(session, page.rows), strict=True))
    return Listing[KeyView].of(page, lambda key: views[key.id])


class _Change(Protocol):
    async def __call__(self, session: AsyncSession, key_id: str, now_us: int, *, by: Actor) -> ApiKey: ...


async def _change(plane: Plane, actor: Actor, key_id: str, change: _Change) -> KeyView:
    async with plane.database.write() as session:
        await key_of(session, actor, key_id)
        return await view_of(session, await change(session, key_id, plane.now_us(), by=actor))
