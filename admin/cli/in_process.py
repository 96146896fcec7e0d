"""The control plane's routes in this process, on the ledger's database: how commands work on the server.

Whoever reaches the database is the operator: requests are made in the name of the command line, and the audit
log says so. Only the routes that are asked are imported, since the whole control plane takes more than a
second. There is no network between: a fault of the database comes out as itself, with what to do about it.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Coroutine, Iterator
from importlib import import_module
from itertools import pairwise
from typing import Any, Final, NoReturn, TypeVar
from urllib.parse import urlencode

from fastapi import FastAPI, Request
from starlette.routing import Mount, Router
from starlette.types import Message, Scope

from admin import errors
from admin.auth import Plane, close_plane, make_plane
from admin.cli.acting import command_line
from admin.cli.api import NATIVE, ORGANIZATION, Answer, Asked, Streamed
from admin.cli.quickly import quickly
from admin.config import AdminSettings
from admin.requests import Requests
from ledger.errors import DatabaseFault, SecretChanged

MODULES: Final = {
    NATIVE: {
        "admin_keys": "admin_keys",
        "audit_events": "audit_events",
        "backends": "backends",
        "keys": "keys",
        "limits": "limits",
        "password-resets": "session",
        "prices": "prices",
        "projects": "tenants",
        "reservations": "reservations",
        "sessions": "user_sessions",
        "settings": "settings",
        "tenants": "tenants",
        "usage": "usage",
        "users": "users",
    },
    ORGANIZATION: {
        "invites": "organization_invites",
        "projects/users": "project_users",
        "service_accounts": "service_accounts",
        "spend_alerts": "spend_alerts",
        "spend_limit": "spend_limits",
        "users": "organization_users",
    },
}
"""Which module of admin.api has the routes of a thing, by its name in paths, or by two names that follow."""

T = TypeVar("T")


class InProcess:
    """Answers in this process. Raises LedgerError for what is wrong with the database."""

    def __init__(self, settings: AdminSettings) -> None:
        """Connects on first use."""
        self._settings = settings
        self._actor = command_line()
        self._runner = asyncio.Runner()
        self._app = FastAPI(openapi_url=None)
        self._modules: set[str] = set()
        self._plane: Plane | None = None
        self._answering: asyncio.Task[None] | None = None
        self._roots = {root: Router() for root in MODULES}
        self._app.router.routes.extend(Mount(root, app=router) for root, router in self._roots.items())
        errors.install(self._app)
        for fault in (DatabaseFault, SecretChanged):
            self._app.add_exception_handler(fault, _raise)
        del self._app.exception_handlers[Exception]  # what nobody foresaw is the command line's to tell
        self._app.add_middleware(Requests)
        self._app.state.settings = settings

    def ask(self, asked: Asked) -> Answer:
        """The answer."""
        streamed = self.open(asked)
        return Answer(streamed.status, b"".join(streamed.chunks))

    def open(self, asked: Asked) -> Streamed:
        """The answer, bit by bit: the next one is made when the one before is taken, since the loop stands
        still between.
        """
        said = self._said(asked)
        with quickly():
            start = self._run(_next(said))
        assert start is not None
        return Streamed(start["status"], self._chunks(said))

    def wait_posted(self) -> None:
        """Waits until what is settled now is posted. Raises LedgerError."""
        self._run(self._wait_posted())

    def advice(self, status: int, code: str | None) -> str:
        """None: there is nothing between that could be wrong."""
        return ""

    def close(self) -> None:
        """Closes the database."""
        try:
            self._run(self._end())
        finally:
            self._runner.close()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(work)

    def _chunks(self, said: AsyncIterator[Message]) -> Iterator[bytes]:
        while (message := self._run(_next(said))) is not None:
            yield message.get("body", b"")

    async def _said(self, asked: Asked) -> AsyncIterator[Message]:
        """The messages of the answer."""
        await self._opened()
        self._include(asked)
        said: asyncio.Queue[Message | None] = asyncio.Queue()
        unread = [b"" if asked.body is None else json.dumps(asked.body).encode()]

        async def receive() -> Message:
            if unread:
                return {"type": "http.request", "body": unread.pop(), "more_body": False}
            await asyncio.Event().wait()  # nobody goes away
            raise AssertionError

        taken = asyncio.Event()

        async def send(message: Message) -> None:
            """Until it is taken: where nobody reads on, the route stands here, and in no session."""
            taken.clear()
            said.put_nowait(message)
            await taken.wait()

        async def answer() -> None:
            try:
                await self._app(self._scope(asked), receive, send)
            finally:
                said.put_nowait(None)

        self._answering = asyncio.create_task(answer())
        while (message := await said.get()) is not None:
            yield message
            taken.set()
        await self._answering

    async def _opened(self) -> Plane:
        if self._plane is None:
            self._plane = self._app.state.plane = make_plane(self._settings)
            await self._plane.database.check()
        return self._plane

    async def _wait_posted(self) -> None:
        from ledger.settled import wait_posted

        plane = await self._opened()
        await wait_posted(self._settings.data_dir, plane.database, currency=plane.currency)

    async def _end(self) -> None:
        if self._answering is not None and not self._answering.done():  # whoever reads has enough
            self._answering.cancel()
            await asyncio.wait((self._answering,))
        if self._plane is not None:
            await close_plane(self._plane)

    def _include(self, asked: Asked) -> None:
        named = MODULES[asked.root]
        names = asked.words[::2]
        (*_, module) = (named[name] for name in (*names, *map("/".join, pairwise(names))) if name in named)
        if module not in self._modules:
            self._modules.add(module)
            routes = import_module(f"admin.api.{module}").router.routes
            self._roots[asked.root].routes.extend(routes)  # as they are: `include_router` makes each anew

    def _scope(self, asked: Asked) -> Scope:
        headers = [(b"content-type", b"application/json")]
        if asked.tenant is not None:
            headers.append((b"openai-organization", asked.tenant.encode()))
        return {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": asked.method,
            "scheme": "http",
            "path": asked.path,
            "raw_path": asked.path.encode(),
            "query_string": urlencode(asked.query).encode(),
            "root_path": "",
            "headers": headers,
            "client": None,
            "server": None,
            "state": {"actor": self._actor},
        }


async def _raise(_: Request, fault: Exception) -> NoReturn:
    raise fault


async def _next(said: AsyncIterator[Message]) -> Message | None:
    return await anext(said, None)
