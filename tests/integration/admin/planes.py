"""A control plane under a real uvicorn on a real ledger, with the operator's key and a tenant."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
import uvicorn

from admin.app import create_app
from admin.config import AdminSettings
from ledger import admin_keys, tenancy
from ledger.database import Database
from ledger.roles import Role
from ledger.settings import pepper


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
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(create_app(settings), log_level="warning", lifespan="on"))
    serving = asyncio.create_task(server.serve([listener]))
    headers = {"Authorization": f"Bearer {operator_key}", "OpenAI-Organization": tenant.id}
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    try:
        async with httpx.AsyncClient(base_url=url, headers=headers, timeout=60) as client:
            yield ServedPlane(client, database, settings, tenant.id, operator_key, owner_key)
    finally:
        server.should_exit = True
        await serving
        await database.close()
