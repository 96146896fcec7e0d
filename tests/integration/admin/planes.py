"""A control plane under a real uvicorn on a real ledger, with the operator's key and a tenant."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx

from admin.config import AdminSettings
from ledger import admin_keys, tenancy
from ledger.database import Database
from ledger.roles import Role
from ledger.settings import pepper
from tests.integration.admin.control_planes import plain_client, serve


@dataclass(frozen=True)
class ServedPlane:
    """`client` has the operator's key and names the tenant; `owner_key` is the tenant's own."""

    client: httpx.AsyncClient
    database: Database
    settings: AdminSettings
    tenant_id: str
    operator_key: str
    owner_key: str

    @property
    def base_url(self) -> str:
        """As OpenAI's SDK takes it."""
        return f"{self.client.base_url}/v1"


@asynccontextmanager
async def served_plane(settings: AdminSettings) -> AsyncIterator[ServedPlane]:
    """On a ledger that is migrated and empty."""
    database = Database(settings.database_url)
    secret = pepper(settings)
    async with database.write() as session:
        tenant = await tenancy.create_tenant(session, "Acme", 1)
        _, operator_key = await admin_keys.create_admin_key(session, secret, "Operator", 1)
        _, owner_key = await admin_keys.create_admin_key(
            session, secret, "Owner", 2, role=Role.OWNER, tenant_id=tenant.id
        )
    headers = {"Authorization": f"Bearer {operator_key}", "OpenAI-Organization": tenant.id}
    try:
        async with (
            serve(settings) as url,
            plain_client(url, headers) as client,
        ):
            yield ServedPlane(client, database, settings, tenant.id, operator_key, owner_key)
    finally:
        await database.close()
