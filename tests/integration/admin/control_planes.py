"""A control plane under a real uvicorn, with the ledger behind it.

An app that was served is kept and served again: FastAPI works a route out when it is first asked for, which
takes longer than most tests. What it was served with does not outlive it: settings, database and middlewares
are new each time.
"""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import uvicorn
from fastapi import FastAPI

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


_idle: list[FastAPI] = []
"""Apps that nobody serves just now."""


@asynccontextmanager
async def an_app(settings: AdminSettings) -> AsyncIterator[FastAPI]:
    """An app that nobody else has meanwhile."""
    app = _idle.pop() if _idle else create_app(settings)
    app.state.settings = settings
    app.middleware_stack = None
    yield app
    _idle.append(app)


@asynccontextmanager
async def serve(settings: AdminSettings) -> AsyncIterator[str]:
    """One server of it, by its URL: as many as there are behave as processes of their own would."""
    listener = socket.create_server(("127.0.0.1", 0))
    async with an_app(settings) as app:
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="on"))
        serving = asyncio.create_task(server.serve([listener]))
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await serving


def plain_client(url: str, headers: dict[str, str]) -> httpx.AsyncClient:
    """A client of it. It loads no certificates, which takes long and is of no use on plain HTTP."""
    return httpx.AsyncClient(base_url=url, headers=headers, timeout=60, verify=False)


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
        plain_client(url, headers) as client,
    ):
        yield ControlPlane(client, database, settings)
    await database.close()
