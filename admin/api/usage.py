"""/admin/v1/usage: the totals of a month, from the rollups."""

from typing import Annotated

from fastapi import APIRouter, Query

from admin.actors import Actor, may
from admin.auth import Here
from admin.schemas import UsageView
from admin.times import month_of
from admin.within import key_of, project_of, tenant_of
from ledger import reports
from ledger.periods import month_span
from ledger.roles import Permission

router = APIRouter(tags=["usage"])


@router.get("/usage")
async def usage(
    plane: Here,
    actor: Annotated[Actor, may(Permission.COSTS_READ)],
    *,
    month: Annotated[
        str | None, Query(examples=["2026-11"], description="In UTC; this month, unless given")
    ] = None,
    tenant_id: str | None = None,
    project_id: str | None = None,
    api_key_id: str | None = None,
    model: str | None = None,
    group_by: Annotated[list[reports.Grouping], Query(max_length=6)] = [],  # noqa: B006 - FastAPI copies it
) -> UsageView:
    """Totals of what is posted: one for each currency, and for each value of what is grouped by."""
    month = month or month_of(plane.now_us())
    span = month_span(month)
    by = list(dict.fromkeys(group_by))
    async with plane.database.read() as session:
        if actor.tenant_id is not None:  # the operator may ask for what is not there
            tenant_id = (await tenant_of(session, actor, tenant_id or actor.tenant_id)).id
            project_id = project_id or actor.project_id
            if project_id is not None:
                await project_of(session, actor, project_id)
            if api_key_id is not None:
                await key_of(session, actor, api_key_id)
        wanted = reports.UsageFilter(*span, tenant_id, project_id, api_key_id, model)
        return UsageView.of(month, span, await reports.usage_totals(session, wanted, by), by)
