"""A worker's desk on a real database, with a clock that tests turn, and a database that fails to order."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from sqlalchemy import text

from ledger import limit_settings, tenancy
from ledger.database import Database
from ledger.direct import Connection
from ledger.errors import DatabaseUnavailable
from ledger.limit_settings import LimitScope
from ledger.limits import Limit, LimitKind, LimitWindow
from proxy.allowances import TICK_US, Account
from proxy.leasing import LeaseDesk
from tests.records import NOON_US

T = TypeVar("T")


class Unreliable:
    """A database whose next writes fail `before` or `after` their commit, as often as told, or wait."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.before = 0
        self.after = 0
        self.writes = 0
        self.open = asyncio.Event()
        self.open.set()

    async def transact(self, work: Callable[[Connection], Coroutine[Any, Any, T]]) -> T:
        await self._begin()
        done = await self._database.transact(work)
        self._end()
        return done

    async def _begin(self) -> None:
        self.writes += 1
        await self.open.wait()
        if self.before:
            self.before -= 1
            raise DatabaseUnavailable("the database is away")

    def _end(self) -> None:
        if self.after:
            self.after -= 1
            raise DatabaseUnavailable("the answer was lost")


class Bench:
    """A desk whose exchanges run by themselves and whose ticks come when told."""

    def __init__(self, database: Database, on_holder: Callable[[str], None] = lambda holder_id: None) -> None:
        self.now_us = NOON_US
        self.database = Unreliable(database)
        self.holders: list[str] = []
        self.exchanges = 0

        def noted(holder_id: str) -> None:
            on_holder(holder_id)
            self.holders.append(holder_id)

        self.desk = LeaseDesk(self.database, 0, lambda: self.now_us, noted, self._exchanged)  # type: ignore[arg-type]

    async def start(self) -> None:
        await self.desk._register()
        self.desk._tasks = [asyncio.create_task(self.desk._work())]

    def _exchanged(self, is_done: bool) -> None:
        self.exchanges += 1

    def account(self, limit: Limit, end_user: str = "") -> Account:
        return self.desk.account(limit, end_user, self.now_us)

    async def settled(self) -> None:
        """Returns when the desk has nothing under way and nothing due."""
        desk = self.desk
        for _ in range(20):
            while desk._due.is_set() or desk._exchanging.locked():
                await asyncio.sleep(0.001)
            await asyncio.sleep(0)

    async def tick(self, times: int = 1) -> None:
        """So many ticks, each with the exchange that it makes."""
        for _ in range(times):
            self.now_us += TICK_US
            self.desk._tick()
            await self.settled()


@asynccontextmanager
async def a_bench(database: Database, **parts: Any) -> AsyncIterator[Bench]:
    """A desk at work; afterwards it has given everything back."""
    bench = Bench(database, **parts)
    await bench.start()
    try:
        yield bench
    finally:
        await bench.desk.stop()


async def a_limit(database: Database, kind: LimitKind, max_value: int, **fields: Any) -> Limit:
    """A limit of a new tenant; of a day, unless told otherwise."""
    window = None if kind is LimitKind.CONCURRENT else fields.pop("window", LimitWindow.DAY)
    async with database.write() as session:
        tenant = await tenancy.create_tenant(session, "Acme", 1)
        scope = LimitScope(tenant_id=tenant.id)
        return await limit_settings.set_limit(session, scope, kind, window, max_value, NOON_US, **fields)


async def remove(database: Database, limit: Limit) -> None:
    async with database.write() as session:
        await limit_settings.remove_limit(session, limit.id, NOON_US)


async def forget_holders(database: Database) -> None:
    """Every holder is given up for dead, and all leases go back."""
    async with database.write() as session:
        for statement in (
            "DELETE FROM lease",
            "DELETE FROM lease_holder",
            "UPDATE limit_balance SET leased = 0",
        ):
            await session.execute(text(statement))
