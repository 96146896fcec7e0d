"""What the chaos happens on: a fresh ledger, engines, and metergate as a service before them.

Owns their coming and going, prices and limits, and the coming to rest. Must not know what breaks, nor what is
judged.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from chaos.disk import Disk
from chaos.engines import Fleet
from chaos.outage import Outage, PostgreSQLOutage, SQLiteOutage
from chaos.plan import MODELS
from chaos.schedule import Kind
from chaos.service import POSTER, WORKER, Service
from ledger import prices
from ledger.database import Database
from ledger.journal.orphans import leaves_something
from ledger.journal.segments import folders, is_locked
from ledger.limit_settings import LimitScope, set_limit
from ledger.limits import LimitKind, LimitWindow
from ledger.money import PICOS_PER_UNIT, Rates
from ledger.poster import drain_once
from ledger.posting import PostResult
from race.book import Book
from race.databases import Databases
from race.owner import Owner
from race.processes import now_us, wait_for

RATES = Rates(5_000_000, 5_000_000, 15_000_000, 100)
_BUDGET_PICOS_A_SECOND = PICOS_PER_UNIT // 800
"""About half of what its clients would spend."""

_PEACE_S = 60.0
_WHOLE_SHARE = 0.6
"""Of the starts, how many are with all workers; the others leave some folders without an owner."""

_SETTINGS = {
    "drain_seconds": "3",
    "connect_timeout_seconds": "2",
    "first_byte_timeout_seconds": "10",
    "gap_timeout_seconds": "3",
}


@dataclass(frozen=True, slots=True)
class Size:
    """How large a run is. `kinds`: what breaks."""

    seconds: float = 400.0
    clients: int = 36
    workers: int = 3
    replicas: int = 3
    mounts: bool = True
    kinds: frozenset[Kind] = frozenset(Kind)


class Stage:
    """The surroundings of one run, started and serving. `data` is the data folder, in `folder`."""

    def __init__(self, kinds: Databases, data: Path, url: str, seed: int, size: Size) -> None:
        self.folder = data.parent
        self.data = data
        self.database = "sqlite" if url.startswith("sqlite") else "postgresql"
        self._stack = ExitStack()
        try:
            self._begin(kinds, url, seed, size)
        except BaseException:
            self._stack.close()
            raise

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _begin(self, kinds: Databases, url: str, seed: int, size: Size) -> None:
        ledger = self.data / "metergate.db"
        empty = ledger.read_bytes() if self.database == "sqlite" else b""
        self.disk = Disk(self.data, self._pids, mounts=size.mounts)
        self._stack.callback(self.disk.close)
        if empty:
            ledger.write_bytes(empty)  # it lay under what was mounted
        self.owner = Owner(self.data, url)
        self.book = Book(url)
        self.url = url
        self._set_up(size.seconds)
        self.fleet = Fleet(self.folder, size.replicas)
        self._stack.callback(self.fleet.stop)
        dice = random.Random(f"{seed}/workers")
        self.is_whole = True

        def workers() -> int:
            whole = self.is_whole or dice.random() < _WHOLE_SHARE
            return size.workers if whole else dice.randint(1, size.workers)

        self.service = Service(
            self.data,
            self.fleet.urls,
            self.folder / "metergate.words",
            workers,
            database_url=url,
            **_SETTINGS,
        )
        self._stack.callback(self.service.end)
        self.service.wait_ready()
        self.is_whole = False
        self.outage: Outage
        if self.database == "sqlite":
            self.outage = SQLiteOutage(self.data / "metergate.db")
        else:
            assert kinds.server is not None
            self.outage = PostgreSQLOutage(kinds.server)

    def _pids(self) -> list[int]:
        return [*self.service.pids(WORKER).values(), *self.service.pids(POSTER).values()]

    def _set_up(self, seconds: float) -> None:
        """Prices, and three projects: one without limits, one with large ones, one whose budget ends."""
        owner = self.owner
        for model in MODELS:
            owner.change(partial(prices.set_price, model=model, rates=RATES, now_us=now_us()))
        self.limited_project, self.tight_project = owner.new_project(), owner.new_project()
        self.secrets = {
            "open": owner.secret,
            "limited": owner.new_key(self.limited_project)[1],
            "tight": owner.new_key(self.tight_project)[1],
        }
        self.limits = {
            self._limit(self.limited_project, LimitKind.SPEND, LimitWindow.LIFETIME, 1000 * PICOS_PER_UNIT),
            self._limit(self.limited_project, LimitKind.TOKENS, LimitWindow.DAY, 100_000_000),
            self._limit(self.limited_project, LimitKind.REQUESTS, LimitWindow.MINUTE, 60_000),
            self._limit(self.limited_project, LimitKind.CONCURRENT, None, 1_000),
        }
        self.budget_picos = int(_BUDGET_PICOS_A_SECOND * seconds)
        self.limits.add(
            self._limit(self.tight_project, LimitKind.SPEND, LimitWindow.LIFETIME, self.budget_picos)
        )

    def _limit(
        self, project: str, kind: LimitKind, window: LimitWindow | None, most: int
    ) -> tuple[str, str, LimitKind]:
        """(id, project, kind) of a limit that is set here."""
        scope = LimitScope(None, project, None)
        limit = self.owner.change(
            partial(set_limit, scope=scope, kind=kind, window=window, max_value=most, now_us=now_us())
        )
        return limit.id, project, kind

    def _orphans(self) -> list[Path]:
        """Folders without an owner that hold something to recover."""
        return [
            folder
            for folder in folders(self.data)
            if leaves_something(folder) and not is_locked(folder / "lock")
        ]

    def come_to_rest(self) -> tuple[int, PostResult]:
        """All calls are over, all is stopped in peace: (its exit status, what was left to post after it)."""
        # At full strength. Numbers that were taken while others were held, nobody starts again: the poster's.
        self.service.start_anew()
        wait_for(
            lambda: None if self._orphans() else True,
            "the poster to take over what the dead left",
            patience_s=_PEACE_S,
        )
        wait_for(
            lambda: None if self.fleet.running() else True, "the engines to be idle", patience_s=_PEACE_S
        )
        status = self.service.stop()

        async def rest() -> PostResult:
            database = Database(self.url, pool_size=1)
            try:
                return await drain_once(database, self.data)
            finally:
                await database.close()

        return status, asyncio.run(rest())
