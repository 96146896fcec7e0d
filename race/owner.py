"""A ledger's owner: one tenant, a project and a key in it, and what an operator does to the ledger.

Owns the changes, each in a transaction of its own. Must not know which processes serve it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeVar

from sqlalchemy.ext.asyncio import AsyncSession

from ledger import tenancy
from ledger.database import Database
from ledger.limit_settings import LimitScope, set_limit
from ledger.limits import LimitKind, LimitWindow
from ledger.secret_key import pepper
from ledger.settings import LedgerSettings
from race.processes import now_us

T = TypeVar("T")

Most = tuple[LimitKind, LimitWindow | None, int]
"""A limit: what of, by which window, and how much."""


def in_ledger(database_url: str, work: Callable[[AsyncSession], Awaitable[T]]) -> T:
    """Does something to a ledger, in one transaction and on a connection of its own."""

    async def do() -> T:
        database = Database(database_url, pool_size=1)
        try:
            async with database.write() as session:
                return await work(session)
        finally:
            await database.close()

    return asyncio.run(do())


class Owner:
    """The ledger at `database_url`, migrated and without a tenant so far. `data` is its data folder."""

    def __init__(self, data: Path, database_url: str) -> None:
        self.data = data
        self.database_url = database_url
        self._pepper = pepper(LedgerSettings(data_dir=data))
        self.secrets: list[str] = []
        self.tenant_id = self.change(lambda session: tenancy.create_tenant(session, "a tenant", now_us())).id
        self.project_id = self.new_project()
        self.key_id, self.secret = self.new_key()

    def change(self, work: Callable[[AsyncSession], Awaitable[T]]) -> T:
        """Does something to the ledger, in one transaction."""
        return in_ledger(self.database_url, work)

    def new_project(self) -> str:
        """The id of a new project of the tenant."""
        return self.change(lambda session: tenancy.create_project(session, self.tenant_id, "p", now_us())).id

    def new_key(self, project_id: str | None = None, expires_us: int | None = None) -> tuple[str, str]:
        """(id, secret) of a new key."""
        project = project_id or self.project_id
        key, secret = self.change(
            lambda session: tenancy.create_api_key(session, self._pepper, project, "k", now_us(), expires_us)
        )
        self.secrets.append(secret)
        return key.id, secret

    def new_tenants(self, names: Sequence[str], limits: Sequence[Most]) -> list[str]:
        """The secret of a key of each of so many new tenants, each with a project and these limits. They are
        made in one transaction: a hundred of them in one of their own each take longer than a race.
        """

        async def make(session: AsyncSession) -> list[str]:
            return [await self._new_tenant(session, name, limits) for name in names]

        made = self.change(make)
        self.secrets += made
        return made

    async def _new_tenant(self, session: AsyncSession, name: str, limits: Sequence[Most]) -> str:
        tenant = await tenancy.create_tenant(session, name, now_us())
        project = await tenancy.create_project(session, tenant.id, name, now_us())
        for kind, window, most in limits:
            await set_limit(session, LimitScope(tenant.id), kind, window, most, now_us())
        _, secret = await tenancy.create_api_key(session, self._pepper, project.id, "k", now_us())
        return secret
