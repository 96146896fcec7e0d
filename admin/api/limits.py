"""/admin/v1/limits: how much tenants, projects, keys and end users may use."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field, field_validator
from sqlalchemy.ext.asyncio import AsyncSession

from admin.actors import Actor, may
from admin.api.responses import Listing, Wanted
from admin.auth import Here
from admin.limit_schemas import LimitDetail, LimitView, Size
from admin.limit_values import end_user_of, parse_max, usual_window
from admin.within import hold_to_bounds, key_of, limit_of, project_of, tenant_of
from ledger import limit_settings
from ledger.errors import Refused
from ledger.limit_settings import LimitScope
from ledger.limits import LimitKind, LimitWindow
from ledger.roles import Permission
from ledger.standings import standings

router = APIRouter(tags=["limits"])

Reading = Annotated[Actor, may(Permission.LIMITS_READ)]
Writing = Annotated[Actor, may(Permission.LIMITS_WRITE)]

OneOf = Annotated[str | None, Field(description="Whose; exactly one of the three ids")]


class LimitOrder(BaseModel):
    """What a limit is told. One of the same owner, model, end user, kind and window is changed."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "project_id": "proj_1f8sDKq0Yb3nVx7Rt2LcWm9Z",
                "kind": "spend",
                "max": "100.00",
                "window": "month",
            }
        },
    )

    tenant_id: OneOf = None
    project_id: OneOf = None
    api_key_id: OneOf = None
    model: Annotated[
        str | None, Field(min_length=1, max_length=512, description="Only calls of this model count")
    ] = None
    end_user: Annotated[
        str | None, Field(min_length=1, max_length=512, description="Only calls of this end user count")
    ] = None
    each_user: Annotated[bool, Field(description="Every end user has this much of their own")] = False
    kind: LimitKind
    window: Annotated[
        LimitWindow | None,
        Field(description="Unless given: spend by the month, tokens and requests by the minute"),
    ] = None
    max: Size
    burst: Annotated[
        int | None, Field(ge=1, description="By the minute alone; a sixth of `max`, unless given")
    ] = None
    soft: Annotated[bool, Field(description="Refuse nothing; keep that it was reached")] = False

    @field_validator("max", mode="before")
    @classmethod
    def _is_exact(cls, value: Any) -> Any:
        """A float is not what was written."""
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise ValueError('write a string such as "1.00", or a whole number')
        return value


@router.get("/limits")
async def list_limits(
    plane: Here,
    actor: Reading,
    wanted: Wanted,
    *,
    tenant_id: Annotated[str | None, Query(description="This tenant's, its projects' and keys'")] = None,
    project_id: Annotated[str | None, Query(description="Those on this project")] = None,
    api_key_id: Annotated[str | None, Query(description="Those on this key")] = None,
) -> Listing[LimitView]:
    """List the limits, the oldest first."""
    async with plane.database.read() as session:
        await _check_seen(session, actor, LimitScope(tenant_id, project_id, api_key_id))
        scope = LimitScope(tenant_id or actor.tenant_id, project_id, api_key_id)
        page = await limit_settings.page_limits(session, scope, wanted, within_project_id=actor.project_id)
    return Listing[LimitView].of(page, lambda limit: LimitView.of(limit, plane.currency))


@router.post("/limits")
async def set_limit(plane: Here, actor: Writing, body: LimitOrder) -> LimitView:
    """Set a limit, within a second on every worker."""
    if sum(scope is not None for scope in (body.tenant_id, body.project_id, body.api_key_id)) != 1:
        raise Refused("give one of tenant_id, project_id and api_key_id")
    window = body.window or usual_window(body.kind)
    scope = LimitScope(body.tenant_id, body.project_id, body.api_key_id)
    async with plane.database.write() as session:
        await _check_seen(session, actor, scope)
        if scope.api_key_id is None:
            hold_to_bounds(actor, Permission.LIMITS_WRITE, scope.project_id)
        limit = await limit_settings.set_limit(
            session,
            scope,
            body.kind,
            window,
            parse_max(body.kind, window, str(body.max)),
            plane.now_us(),
            model=body.model,
            end_user=end_user_of(body.end_user, each_user=body.each_user),
            burst=body.burst,
            soft=body.soft,
            by=actor,
        )
    return LimitView.of(limit, plane.currency)


@router.get("/limits/{limit_id}")
async def get_limit(plane: Here, actor: Reading, limit_id: str) -> LimitDetail:
    """Show a limit and how much of it is left."""
    async with plane.database.read() as session:
        limit = await limit_of(session, actor, limit_id)
        left = await standings(await session.connection(), [limit], plane.now_us())
    return LimitDetail.with_standings(limit, left, plane.currency)


@router.delete("/limits/{limit_id}")
async def remove_limit(plane: Here, actor: Writing, limit_id: str) -> LimitView:
    """Remove a limit, within a second on every worker; the answer is what it was."""
    async with plane.database.write() as session:
        limit = await limit_of(session, actor, limit_id)
        if limit.api_key_id is None:
            hold_to_bounds(actor, Permission.LIMITS_WRITE, limit.project_id)
        limit = await limit_settings.remove_limit(session, limit_id, plane.now_us(), by=actor)
    return LimitView.of(limit, plane.currency)


async def _check_seen(session: AsyncSession, actor: Actor, scope: LimitScope) -> None:
    """Raises NotFound for what the actor does not see. The operator may ask for what is not there."""
    if actor.tenant_id is None:
        return
    if scope.tenant_id is not None:
        await tenant_of(session, actor, scope.tenant_id)
    if scope.project_id is not None:
        await project_of(session, actor, scope.project_id)
    if scope.api_key_id is not None:
        await key_of(session, actor, scope.api_key_id)
