"""/v1/organization/spend_limit and .../projects/{id}/spend_limit: the most that may be spent in a month, in
OpenAI's shapes.

Amounts are in the currency's smallest unit (cents), exact. A project's is its hard limit on spend by the
month, the same that `metergate limit` sets. An organization's is its own word to itself: beside what the
operator has set on the tenant, which it cannot move, and of which each holds by itself.
"""

from typing import Annotated, Literal, Self

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.ext.asyncio import AsyncSession

from admin.actors import Actor, may
from admin.auth import Here, Plane
from admin.within import Organization, hold_to_whole_tenant, organization_of, project_in
from ledger import spend_limits
from ledger.errors import Refused
from ledger.limit_settings import LimitScope
from ledger.roles import Permission
from ledger.spend_limits import SpendLimit

router = APIRouter(tags=["organization: spend limits"])

Reading = Annotated[Actor, may(Permission.SPEND_READ)]
Writing = Annotated[Actor, may(Permission.SPEND_WRITE)]

Currency = Annotated[str, Field(strict=True, pattern="^[A-Z]{3}$", examples=["USD"])]


class SpendLimitEnforcement(BaseModel):
    """Whether calls are refused for it now."""

    status: Literal["inactive", "enforcing"]


class SpendLimitView(BaseModel):
    """What both have."""

    threshold_amount: Annotated[int, Field(description="In the currency's smallest unit")]
    currency: str
    interval: Literal["month"] = "month"
    enforcement: SpendLimitEnforcement

    @classmethod
    def of(cls, limit: SpendLimit, currency: str) -> Self:
        """The view of a limit."""
        return cls(
            threshold_amount=limit.amount,
            currency=currency,
            enforcement=SpendLimitEnforcement(status="enforcing" if limit.is_reached else "inactive"),
        )


class OrganizationSpendLimit(SpendLimitView):
    """OpenAI's `organization.spend_limit`."""

    object: Literal["organization.spend_limit"] = "organization.spend_limit"


class ProjectSpendLimit(SpendLimitView):
    """OpenAI's `project.spend_limit`."""

    object: Literal["project.spend_limit"] = "project.spend_limit"


class SpendLimitOrder(BaseModel):
    """A limit that takes the place of the one before."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"threshold_amount": 100_000, "currency": "USD", "interval": "month"}},
    )

    threshold_amount: Annotated[int, Field(strict=True, ge=1)]
    currency: Currency
    interval: Literal["month"]


class DeletedOrganizationSpendLimit(BaseModel):
    """That the organization's limit is gone."""

    object: Literal["organization.spend_limit.deleted"] = "organization.spend_limit.deleted"
    deleted: Literal[True] = True


class DeletedProjectSpendLimit(BaseModel):
    """That the project's limit is gone."""

    object: Literal["project.spend_limit.deleted"] = "project.spend_limit.deleted"
    deleted: Literal[True] = True


def check_currency(plane: Plane, currency: str) -> None:
    """Raises Refused for another currency than the ledger's: limits and spend are counted in that one."""
    if currency != plane.currency:
        raise Refused(f"this ledger counts in {plane.currency}", param="currency")


@router.get("/spend_limit")
async def get_organization_spend_limit(
    plane: Here, actor: Reading, organization: Organization = None
) -> OrganizationSpendLimit:
    """Show the organization's spend limit."""
    async with plane.database.read() as session:
        scope = await _organization(session, actor, Permission.SPEND_READ, organization)
        limit = await spend_limits.get(session, scope, plane.currency, plane.now_us())
    return OrganizationSpendLimit.of(limit, plane.currency)


@router.post("/spend_limit")
async def update_organization_spend_limit(
    plane: Here, actor: Writing, body: SpendLimitOrder, organization: Organization = None
) -> OrganizationSpendLimit:
    """Set the organization's spend limit, within a second on every worker."""
    async with plane.database.write() as session:
        scope = await _organization(session, actor, Permission.SPEND_WRITE, organization)
        limit = await _put(session, plane, scope, body, actor)
    return OrganizationSpendLimit.of(limit, plane.currency)


@router.delete("/spend_limit")
async def delete_organization_spend_limit(
    plane: Here, actor: Writing, organization: Organization = None
) -> DeletedOrganizationSpendLimit:
    """Take the organization's spend limit away; what the operator has set stays."""
    async with plane.database.write() as session:
        scope = await _organization(session, actor, Permission.SPEND_WRITE, organization)
        await spend_limits.remove(session, scope, plane.now_us(), by=actor)
    return DeletedOrganizationSpendLimit()


@router.get("/projects/{project_id}/spend_limit")
async def get_project_spend_limit(
    plane: Here, actor: Reading, project_id: str, organization: Organization = None
) -> ProjectSpendLimit:
    """Show a project's spend limit."""
    async with plane.database.read() as session:
        scope = await _project(session, actor, project_id, organization)
        limit = await spend_limits.get(session, scope, plane.currency, plane.now_us())
    return ProjectSpendLimit.of(limit, plane.currency)


@router.post("/projects/{project_id}/spend_limit")
async def update_project_spend_limit(
    plane: Here, actor: Writing, project_id: str, body: SpendLimitOrder, organization: Organization = None
) -> ProjectSpendLimit:
    """Set a project's spend limit, within a second on every worker."""
    async with plane.database.write() as session:
        scope = await _project(session, actor, project_id, organization)
        limit = await _put(session, plane, scope, body, actor)
    return ProjectSpendLimit.of(limit, plane.currency)


@router.delete("/projects/{project_id}/spend_limit")
async def delete_project_spend_limit(
    plane: Here, actor: Writing, project_id: str, organization: Organization = None
) -> DeletedProjectSpendLimit:
    """Take a project's spend limit away, within a second on every worker."""
    async with plane.database.write() as session:
        scope = await _project(session, actor, project_id, organization)
        await spend_limits.remove(session, scope, plane.now_us(), by=actor)
    return DeletedProjectSpendLimit()


async def _organization(
    session: AsyncSession, actor: Actor, permission: Permission, organization: str | None
) -> LimitScope:
    hold_to_whole_tenant(actor, permission)
    return LimitScope(tenant_id=await organization_of(session, actor, organization), by_tenant=True)


async def _project(
    session: AsyncSession, actor: Actor, project_id: str, organization: str | None
) -> LimitScope:
    project = await project_in(session, actor, project_id, organization)
    return LimitScope(project_id=project.id)


async def _put(
    session: AsyncSession, plane: Plane, scope: LimitScope, body: SpendLimitOrder, actor: Actor
) -> SpendLimit:
    check_currency(plane, body.currency)
    return await spend_limits.put(
        session, scope, body.threshold_amount, plane.currency, plane.now_us(), by=actor
    )
