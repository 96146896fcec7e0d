"""A control plane under a real uvicorn, with an operator's key, for tests that speak HTTP to it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from admin.config import AdminSettings
from ledger import admin_keys
from ledger.database import Database
from ledger.roles import Role
from ledger.settings import pepper
from tests.integration.admin.control_planes import plain_client, serve

CSRF = "X-CSRF-Token"


@dataclass(frozen=True)
class Served:
    """A client with the operator's key, and the way to the ledger behind the server."""

    client: httpx.AsyncClient
    database: Database
    settings: AdminSettings
    url: str
    opened: list[httpx.AsyncClient]

    @property
    def pepper(self) -> bytes:
        """What the server hashes with."""
        return pepper(self.settings)

    async def key(self, role: Role, tenant_id: str | None = None) -> str:
        """A new admin key's secret."""
        async with self.database.write() as session:
            _, secret = await admin_keys.create_admin_key(
                session, self.pepper, str(role), 1, role=role, tenant_id=tenant_id
            )
            return secret

    def browser(self, **headers: str) -> "Browser":
        """A browser that has never been here."""
        self.opened.append(plain_client(self.url, headers))
        return Browser(self.opened[-1])


class Browser:
    """A client without a key, with a jar, that sends the CSRF token it was told."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        """`client` keeps the cookies."""
        self.client = client

    async def log_in(self, email: str, password: str) -> httpx.Response:
        """Logs in."""
        return self._told(
            await self.client.post("/admin/v1/session", json={"email": email, "password": password})
        )

    async def accept(self, token: str, name: str, password: str) -> httpx.Response:
        """Accepts an invite."""
        body = {"token": token, "name": name, "password": password}
        return self._told(await self.client.post("/admin/v1/invites/accept", json=body))

    async def __call__(self, method: str, path: str, **more: Any) -> httpx.Response:
        """A request."""
        return await self.client.request(method, path, **more)

    def _told(self, answer: httpx.Response) -> httpx.Response:
        if answer.status_code == 200:
            self.client.headers[CSRF] = answer.json()["csrf_token"]
        return answer


@asynccontextmanager
async def serving(settings: AdminSettings) -> AsyncIterator[Served]:
    """The control plane with these settings, until the end of the block."""
    database = Database(settings.database_url)
    async with database.write() as session:
        _, secret = await admin_keys.create_admin_key(session, pepper(settings), "Operator", 1)
    try:
        async with serve(settings) as url:
            opened = [plain_client(url, {"Authorization": f"Bearer {secret}"})]
            try:
                yield Served(opened[0], database, settings, url, opened)
            finally:
                for client in opened:
                    await client.aclose()
    finally:
        await database.close()
