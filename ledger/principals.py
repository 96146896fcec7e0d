"""Who a key speaks for, in one query."""

from dataclasses import replace

from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col, select

from ledger.principal import Principal
from ledger.tables.tenancy import ApiKey, Project, Tenant

__all__ = ["Principal", "find_principal"]


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
            Project.model_permissions,
            ApiKey.model_permissions,
            ApiKey.scopes,
            ApiKey.networks,
        )  # type: ignore[call-overload, misc]
        .join(Project, col(Project.id) == col(ApiKey.project_id))
        .join(Tenant, col(Tenant.id) == col(ApiKey.tenant_id))
        .where(col(ApiKey.digest) == digest)
    )
    row = (await session.execute(query)).one_or_none()
    if row is None:
        return None
    of_project, of_key, scopes, networks = row[-4:]
    permissions = tuple(each for each in (of_project, of_key) if each is not None)
    return replace(Principal(*row[:-4]), model_permissions=permissions, scopes=scopes, networks=networks)
