"""/v1/organization/audit_logs: OpenAI's list of what was changed, by whom. The newest first."""

from typing import Annotated

from fastapi import APIRouter, Query

from admin.actors import Actor, may
from admin.audit_schemas import US_PER_SECOND, AuditLogPage, OrganizationAuditLog
from admin.auth import Here
from admin.within import Organization, organization_of
from ledger.audit_events import told_as
from ledger.audit_pages import AuditFilter, page, project_names
from ledger.roles import Permission

router = APIRouter(tags=["organization: audit log"])

SECONDS_MAX = 253_402_300_800  # the year 10000
Second = Annotated[int | None, Query(ge=0, le=SECONDS_MAX)]
Names = Annotated[list[str], Query(max_length=100)]


@router.get("/audit_logs", response_model_exclude_unset=True)
async def list_audit_logs(
    plane: Here,
    actor: Annotated[Actor, may(Permission.AUDIT_READ)],
    *,
    organization: Organization = None,
    effective_after: Annotated[Second, Query(alias="effective_at[gt]")] = None,
    effective_from: Annotated[Second, Query(alias="effective_at[gte]")] = None,
    effective_before: Annotated[Second, Query(alias="effective_at[lt]")] = None,
    effective_until: Annotated[Second, Query(alias="effective_at[lte]")] = None,
    project_ids: Annotated[Names, Query(alias="project_ids[]")] = [],  # noqa: B006 - FastAPI copies it
    event_types: Annotated[Names, Query(alias="event_types[]", examples=[["api_key.created"]])] = [],  # noqa: B006
    actor_ids: Annotated[Names, Query(alias="actor_ids[]")] = [],  # noqa: B006
    actor_emails: Annotated[Names, Query(alias="actor_emails[]")] = [],  # noqa: B006
    resource_ids: Annotated[Names, Query(alias="resource_ids[]")] = [],  # noqa: B006
    tenant_only: Annotated[bool, Query(description="Only events that are named `tenant.`...")] = False,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    after: Annotated[str | None, Query(description="Go on after this event, to older ones")] = None,
    before: Annotated[str | None, Query(description="Go back before this event, to newer ones")] = None,
) -> AuditLogPage:
    """List what was changed in the organization, the newest first."""
    is_tenants = actor.tenant_id is not None
    since = [second for second in (effective_from, _next(effective_after)) if second is not None]
    until = [second for second in (effective_before, _next(effective_until)) if second is not None]
    async with plane.database.read() as session:
        wanted = AuditFilter(
            tenant_id=await organization_of(session, actor, organization),
            from_us=max(since) * US_PER_SECOND if since else None,
            until_us=min(until) * US_PER_SECOND if until else None,
            is_tenants=is_tenants,
            within_project_id=actor.project_id,
            project_ids=project_ids,
            events=told_as(event_types) or event_types,
            event_prefix="tenant." if tenant_only else "",
            actor_ids=actor_ids,
            actor_emails=actor_emails,
            subject_ids=resource_ids,
        )
        found = await page(session, wanted, limit, after=after, before=before)
        names = await project_names(session, found.events)
    data = [OrganizationAuditLog.of(row, names, is_tenants=is_tenants) for row in found.events]
    return AuditLogPage(
        object="list",
        data=data,
        first_id=data[0].id if data else None,
        last_id=data[-1].id if data else None,
        has_more=found.has_more,
    )


def _next(second: int | None) -> int | None:
    return None if second is None else second + 1
