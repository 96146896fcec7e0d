"""/admin/v1/audit_events: the audit log as it is kept, the newest first.

The operator reads all of it, with the events that are no tenant's (prices for everybody, operators and their
keys); a tenant's people read what OpenAI's route tells them, too (admin/api/audit_logs.py).
"""

from typing import Annotated

from fastapi import APIRouter, Query

from admin.actors import Actor, may
from admin.api.responses import Listing, Wanted
from admin.audit_schemas import AuditView
from admin.auth import Here
from admin.times import parse_instant, parse_since
from admin.within import tenant_of
from ledger.audit_pages import AuditFilter, page_newest
from ledger.roles import Permission

router = APIRouter(tags=["audit"])

Names = Annotated[list[str] | None, Query(max_length=100)]


@router.get("/audit_events")
async def list_audit_events(
    plane: Here,
    actor: Annotated[Actor, may(Permission.AUDIT_READ)],
    wanted: Wanted,
    *,
    tenant_id: Annotated[str | None, Query(description="Only this tenant's")] = None,
    of_no_tenant: Annotated[bool, Query(description="Only those that are the operator's own")] = False,
    project_id: Annotated[str | None, Query(description="Only in this project")] = None,
    event: Annotated[Names, Query(description="Only these, by name", examples=[["api_key.created"]])] = None,
    actor_id: Annotated[str | None, Query(description="Only by this key, user or program")] = None,
    subject_id: Annotated[str | None, Query(description="Only what was done to this")] = None,
    since: Annotated[
        str | None,
        Query(
            max_length=64, description="From here on: a time, or a duration back from now", examples=["24h"]
        ),
    ] = None,
    until: Annotated[
        str | None,
        Query(max_length=64, description="Before this time", examples=["2026-12-31T23:59:59Z"]),
    ] = None,
) -> Listing[AuditView]:
    """List what was changed, the newest first."""
    is_tenants = actor.tenant_id is not None
    from_us = None if since is None else parse_since(since, plane.now_us())
    until_us = None if until is None else parse_instant(until)
    async with plane.database.read() as session:
        if tenant_id is not None and is_tenants:  # the operator may ask for what is not there
            await tenant_of(session, actor, tenant_id)
        matching = AuditFilter(
            tenant_id=tenant_id or actor.tenant_id,
            of_no_tenant=of_no_tenant,
            is_tenants=is_tenants,
            within_project_id=actor.project_id,
            from_us=from_us,
            until_us=until_us,
            project_ids=[] if project_id is None else [project_id],
            events=event or [],
            actor_ids=[] if actor_id is None else [actor_id],
            subject_ids=[] if subject_id is None else [subject_id],
        )
        page = await page_newest(session, matching, wanted)
    return Listing[AuditView].of(page, lambda row: AuditView.of(row, is_tenants=is_tenants))
