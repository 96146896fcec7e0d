"""A control plane under a real uvicorn, with the ledger behind it."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import uvicorn

from admin.app import create_app
from admin.config import AdminSettings
from ledger import admin_keys
from ledger.database import Database
from ledger.settings import pepper


@dataclass(frozen=True)
class ControlPlane:
    """A client with the operator's key, and the way to the ledger behind the server."""

    client: httpx.AsyncClient
    database: Database
    settings: AdminSettings


@asynccontextmanager
async def serve(settings: AdminSettings) -> AsyncIterator[str]:
    """One server of it, by its URL: as many as there are behave as processes of their own would."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(create_app(settings), log_level="warning", lifespan="on"))
    serving = asyncio.create_task(server.serve([listener]))
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await serving


@asynccontextmanager
async def control_plane(database_url: str, folder: Path) -> AsyncIterator[ControlPlane]:
    """A server, and a client of it with the operator's key."""
    settings = AdminSettings(database_url=database_url, data_dir=folder)
    database = Database(database_url)
    async with database.write() as session:
        _, secret = await admin_keys.create_admin_key(session, pepper(settings), "Operator", 1)
    headers = {"Authorization": f"Bearer {secret}"}
    async with (
        serve(settings) as url,
        httpx.AsyncClient(base_url=url, headers=headers, timeout=30) as client,
    ):
        yield ControlPlane(client, database, settings)
    await database.close()
