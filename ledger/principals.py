"""Who a key speaks for, and which limits hold for it: two queries of one snapshot."""

from dataclasses import replace
from functools import cache
from typing import Any

from sqlalchemy import bindparam
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col, select

from ledger.limit_settings import limits_of
from ledger.principal import Principal
from ledger.tables.tenancy import ApiKey, Project, Tenant

__all__ = ["Principal", "find_principal"]


async def find_principal(session: AsyncSession, digest: bytes) -> Principal | None:
    """The principal of the key with this digest, in whatever state it is; None when there is no such key.

    In a session of `Database.read`, both queries see one moment.
    """
    row = (await session.execute(_by_digest(), {"digest": digest})).one_or_none()
    if row is None:
        return None
    of_project, of_key, scopes, networks, outage_policy = row[-5:]
    found = Principal(*row[:-5])
    return replace(
        found,
        limits=await limits_of(session, found.tenant_id, found.project_id, found.api_key_id),
        model_permissions=tuple(each for each in (of_project, of_key) if each is not None),
        scopes=scopes,
        networks=networks,
        outage_policy=outage_policy,
    )


@cache
def _by_digest() -> Any:
    """Made once: SQLAlchemy needs longer to put such a statement together than SQLite to run it."""
    return (
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
            Tenant.outage_policy,
        )  # type: ignore[call-overload, misc]
        .join(Project, col(Project.id) == col(ApiKey.project_id))
        .join(Tenant, col(Tenant.id) == col(ApiKey.tenant_id))
        .where(col(ApiKey.digest) == bindparam("digest"))
    )
