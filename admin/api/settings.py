"""/admin/v1/tenants/ID/settings: what a tenant decides about itself.

Only the operator opens a tenant to more than it can pay for: `fail_open` lets calls past its limits while the
ledger is away. Closing it again is the tenant's own affair.
"""

from typing import Annotated, Any, Self

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, model_validator

from admin.actors import Actor, may
from admin.auth import Here
from admin.schemas import Name, Resource
from admin.within import tenant_of
from ledger import tenancy
from ledger.errors import Denied
from ledger.roles import Permission
from ledger.states import OutagePolicy
from ledger.tables.tenancy import Tenant

router = APIRouter(tags=["tenants"])

POLICY = (
    "What becomes of a call that the leases in hand do not cover while the ledger does not answer: refused "
    "with 503 (`fail_closed`), or admitted and posted later (`fail_open`), which only the operator may set."
)


class TenantSettings(Resource):
    """What a tenant decides about itself."""

    tenant_id: str
    name: str
    outage_policy: Annotated[OutagePolicy, Field(description=POLICY)]

    @classmethod
    def of(cls, tenant: Tenant) -> Self:
        """The settings in a row."""
        return cls(tenant_id=tenant.id, name=tenant.name, outage_policy=tenant.outage_policy)


def _without_default(schema: dict[str, Any]) -> None:
    """What is left out stays: what stands in its place here means nothing."""
    schema.pop("default", None)


class SettingsChange(BaseModel):
    """What is to be another; what is left out stays."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"outage_policy": "fail_closed"}]}
    )

    name: Annotated[Name, Field(json_schema_extra=_without_default)] = ""
    outage_policy: Annotated[OutagePolicy, Field(description=POLICY, json_schema_extra=_without_default)] = (
        OutagePolicy.FAIL_CLOSED
    )

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("say what to change: name, outage_policy")
        return self


@router.get("/tenants/{tenant_id}/settings")
async def get_tenant_settings(
    plane: Here, actor: Annotated[Actor, may(Permission.SETTINGS_READ)], tenant_id: str
) -> TenantSettings:
    """Show a tenant's settings."""
    async with plane.database.read() as session:
        return TenantSettings.of(await tenant_of(session, actor, tenant_id))


@router.patch("/tenants/{tenant_id}/settings")
async def update_tenant_settings(
    plane: Here,
    actor: Annotated[Actor, may(Permission.SETTINGS_WRITE)],
    tenant_id: str,
    body: SettingsChange,
) -> TenantSettings:
    """Change a tenant's settings, within a second on every worker. What is left out stays."""
    now, told = plane.now_us(), body.model_fields_set
    async with plane.database.write() as session:
        tenant = await tenant_of(session, actor, tenant_id)
        if "outage_policy" in told:
            opens = body.outage_policy is OutagePolicy.FAIL_OPEN is not tenant.outage_policy
            if opens and actor.tenant_id is not None:
                raise Denied(Permission.TENANTS_WRITE, "to let calls past the tenant's limits")
            await tenancy.set_outage_policy(session, tenant_id, body.outage_policy, now, by=actor)
        if "name" in told:
            await tenancy.rename_tenant(session, tenant_id, body.name, now, by=actor)
        return TenantSettings.of(tenant)
