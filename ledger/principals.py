"""Who a key speaks for, in one query."""

from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col, select

from ledger.states import KeyState, ProjectState, TenantState
from ledger.tables.tenancy import ApiKey, Project, Tenant


@dataclass(frozen=True, slots=True)
class Principal:
    """A key with its project and tenant, and the state of each; `expires_us` None is never."""

    tenant_id: str
    project_id: str
    api_key_id: str
    tenant_state: TenantState
    project_state: ProjectState
    key_state: KeyState
    expires_us: int | None

    def is_active(self, now_us: int) -> bool:
        """Whether calls may come in: active on every level and not expired."""
        return (
            self.key_state == KeyState.ACTIVE
            and self.project_state == ProjectState.ACTIVE
            and self.tenant_state == TenantState.ACTIVE
            and (self.expires_us is None or now_us < self.expires_us)
        )


async def find_principal(session: AsyncSession, digest: bytes) -> Principal | None:
    """The principal of the key with this digest, in whatever state it is; None when there is no such key."""
    query = (
        select(
            ApiKey.tenant_id,
            ApiKey.project_id,
            ApiKey.id,
            Tenant.state,
            Project.state,
            ApiKey.state,
            ApiKey.expires_us,
        )  # type: ignore[call-overload]
        .join(Project, col(Project.id) == col(ApiKey.project_id))
        .join(Tenant, col(Tenant.id) == col(ApiKey.tenant_id))
        .where(col(ApiKey.digest) == digest)
    )
    row = (await session.execute(query)).one_or_none()
    return None if row is None else Principal(*row)
