"""Lives of a worker and its poster, as scripts; what must be in the ledger after each of them was cut short.

Owns the scripts, running them on the real parts (Settlement, flight recorder, journal, poster, SQLite), and
the oracle. A script is steps of calls (`begin`, `count`, `settle`, `drop`: it came to nothing), numbered from
1, and `post` and `die`. The oracle knows which steps were done when the process died and which one was under
way: a call's row must be what it was before that step or after it, and nothing else.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, NamedTuple

from ledger import leases, limit_settings, tenancy
from ledger.database import Database
from ledger.ids import new_request_id
from ledger.journal.orphans import leaves_something, take_over
from ledger.journal.reader import end_position
from ledger.journal.recovery import recover_into
from ledger.journal.segments import folders, read_cursor, worker_folder
from ledger.journal.writer import JournalWriter
from ledger.lease_terms import BalanceKey, Wish
from ledger.limit_settings import LimitScope
from ledger.limits import LimitKind, LimitWindow
from ledger.poster import Poster, drain_once, poster_lock
from ledger.record import Charge, Ending
from ledger.terms import Terms
from ledger.usage import Usage, UsageSource
from proxy.flight import FlightRecorder
from proxy.settlement import SettledCalls, Settlement
from tests.integration.crashes.boundaries import Death, Shared, run
from tests.integration.crashes.traced import trace, wait_for_strace
from tests.records import NOON_US

STARTED, DONE = 1, 2
"""Words of what a life tells: how many steps were begun, and how many are done."""
SEGMENT_BYTES: Final = 900  # two or three records: it rotates
SLOTS: Final = 6
NEVER: Final = Death()
IN_MEMORY: Final = Path("/dev/shm")
"""What a process wrote is there when it is dead, on any file system; on this one, syncing is quick."""
CHARGED: Final = 30
LONG_NAME: Final = "a model with a name that is longer than its slot would like " * 6


class Step(NamedTuple):
    """One step of a script."""

    what: str
    call: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0


Row = tuple[str, str, int, int]
"""Where the counts are from, how it ended, prompt and completion tokens."""


@dataclass(slots=True)
class Life:
    """A script, what its calls are named, and how far it came."""

    script: Sequence[Step]
    request_ids: dict[int, str] = field(default_factory=dict)
    started: int = 0
    done: int = 0

    def __post_init__(self) -> None:
        for step in self.script:
            if step.what == "begin":
                self.request_ids[step.call] = new_request_id(NOON_US)

    def may_leave(self, call: int) -> set[Row | None]:
        """The rows that a call of this life may have; None is no row."""
        steps = [step for step in self.script[: self.done] if step.call == call]
        before = _row(steps)
        allowed = {before}
        if self.started > self.done:
            step = self.script[self.started - 1]
            if step.call == call:
                after = _row([*steps, step])
                allowed.add(after)
                if step.what == "count" and before and after:  # two stores: one may be there alone
                    source, ending, _, _ = after
                    allowed.add((source, ending, after[2], before[3]))
        return allowed


def _row(steps: Iterable[Step]) -> Row | None:
    """What a call that had these steps and then was cut short is in the book."""
    row: Row | None = None
    for step in steps:
        if step.what == "begin":
            row = ("unresolved", "killed", 0, 0)
        elif step.what == "count":
            row = ("recovered", "killed", step.prompt_tokens, step.completion_tokens)
        elif step.what == "settle":
            row = ("final", "finished", step.prompt_tokens, step.completion_tokens)
        elif step.what == "drop":
            row = None
    return row


@dataclass(frozen=True, slots=True)
class Book:
    """A migrated ledger with one tenant and a limit on its tokens, to be copied for each story."""

    template: Path
    tenant_id: str
    limit: BalanceKey

    @classmethod
    def make(cls, template: Path, path: Path) -> "Book":
        """From a migrated, empty ledger."""
        shutil.copy(template, path)

        async def fill() -> tuple[str, str]:
            database = Database(f"sqlite:///{path}", pool_size=1)
            async with database.write() as session:
                tenant = await tenancy.create_tenant(session, "a tenant", NOON_US)
                limit = await limit_settings.set_limit(
                    session, LimitScope(tenant.id), LimitKind.TOKENS, LimitWindow.LIFETIME, 10**9, NOON_US
                )
            await database.close()
            return tenant.id, limit.id

        tenant_id, limit_id = asyncio.run(fill())
        return cls(path, tenant_id, BalanceKey(limit_id, "", 0))


class Told(NamedTuple):
    """What became of a process: whether it came to its end, and then which steps it made."""

    is_whole: bool
    steps: list[str]


class Story:
    """Lives on one data folder, one after the other. Its folder goes with it."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self._lives: list[Life] = []
        self.data_dir = Path(tempfile.mkdtemp(prefix="story-", dir=IN_MEMORY if IN_MEMORY.is_dir() else None))
        self._ledger = self.data_dir / "metergate.db"
        shutil.copy(book.template, self._ledger)

    def __enter__(self) -> "Story":
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.data_dir)

    @property
    def folder(self) -> Path:
        return worker_folder(self.data_dir, 0)

    def live(self, script: Sequence[Step], death: Death = NEVER) -> Told:
        """A worker starts, recovers, does as the script says, and posts, if death lets it."""
        life = Life(script)
        self._lives.append(life)
        is_whole, shared = run(lambda shared: asyncio.run(self._work(life, shared)), death)
        life.started, life.done = shared[STARTED], shared[DONE]
        return Told(is_whole, shared.read().split("\n"))

    def live_traced(self, script: Sequence[Step], output: Path) -> tuple[Told, Counter[str]]:
        """The same, as it says itself and as strace sees it."""
        life, told = Life(script), []
        self._lives.append(life)

        def work(shared: Shared) -> None:
            wait_for_strace()
            asyncio.run(self._work(life, shared))

        is_whole, shared = run(work, NEVER, lambda child: told.append(trace(child, self.data_dir, output)))
        life.started, life.done = shared[STARTED], shared[DONE]
        return Told(is_whole, shared.read().split("\n")), told[0]()

    def rest(self, death: Death = NEVER, *, by_poster: bool) -> Told:
        """What was left is recovered, by the poster or by a worker that comes and goes, and posted."""

        async def work() -> None:
            if by_poster:
                if leaves_something(self.folder):
                    take_over(self.folder)
            else:
                journal = JournalWriter(self.folder, segment_bytes=SEGMENT_BYTES, sync_s=60)
                recover_into(journal, self.folder)
                journal.end_holder_before()
                journal.close()
            database = self._database()
            await drain_once(database, self.data_dir)
            await database.close()

        is_whole, shared = run(lambda _: asyncio.run(work()), death)
        return Told(is_whole, shared.read().split("\n"))

    def _database(self) -> Database:
        return Database(f"sqlite:///{self._ledger}", pool_size=1)

    async def _work(self, life: Life, shared: Shared) -> None:
        database = self._database()
        lock = poster_lock(self.data_dir)
        assert lock.take()
        journal = JournalWriter(self.folder, segment_bytes=SEGMENT_BYTES, sync_s=60)
        recover_into(journal, self.folder)
        async with database.write() as session:
            holder_id = await leases.register(await session.connection(), "host", 0, NOON_US)
        journal.begin_holder(holder_id)
        async with database.write() as session:
            await leases.exchange(
                await session.connection(), holder_id, [Wish(self._book.limit, 500, 500)], [], NOON_US, 1
            )
        settled = SettledCalls(journal, FlightRecorder(self.folder, holder_id, slots=SLOTS))
        poster = Poster(database, self.data_dir, Terms())
        calls: dict[int, Settlement] = {}
        for number, step in enumerate(life.script, 1):
            shared[STARTED] = number
            if step.what == "post":
                await poster.turn()
            elif step.what == "die":
                os.kill(os.getpid(), signal.SIGKILL)
            else:
                self._step(life, step, calls, settled, holder_id)
            shared[DONE] = number
        settled.close()
        await poster.drain()
        poster.close()
        await database.close()
        lock.release()

    def _step(
        self, life: Life, step: Step, calls: dict[int, Settlement], settled: SettledCalls, holder_id: str
    ) -> None:
        usage = Usage(step.prompt_tokens, 0, step.completion_tokens)
        if step.what == "begin":
            calls[step.call] = self._settlement(settled, life.request_ids[step.call], step.call, holder_id)
            calls[step.call].sent("http://127.0.0.1:8000")
        elif step.what == "count":
            calls[step.call].count(step.prompt_tokens, step.completion_tokens)
        elif step.what == "settle":
            calls[step.call].settle(Ending.FINISHED, 200, usage, UsageSource.FINAL)
        elif step.what == "drop":
            calls[step.call].close()

    def _settlement(self, settled: SettledCalls, request_id: str, number: int, holder_id: str) -> Settlement:
        charge = Charge(*self._book.limit, CHARGED)
        hold: Any = SimpleNamespace(holder_id=holder_id, settle=lambda usage: (charge,), release=lambda: None)
        principal: Any = SimpleNamespace(
            tenant_id=self._book.tenant_id, project_id="proj_a", api_key_id="key_a"
        )
        call: Any = SimpleNamespace(
            model=LONG_NAME if number % 3 == 2 else "tiny",
            endpoint=SimpleNamespace(name="chat.completions"),
            stream=True,
            end_user="",
            choices_per_prompt=1,
        )
        return Settlement(
            settled, lambda _: None, lambda: NOON_US + 9, request_id, principal, call, NOON_US, hold
        )

    # What is looked at in the end.

    def check(self) -> None:
        """Every call is in the ledger as often and as exactly as it must be, and nothing is left over."""
        with contextlib.closing(sqlite3.connect(self._ledger)) as ledger:
            assert ledger.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            rows = ledger.execute(
                "SELECT request_id, usage_source, ending, prompt_tokens, completion_tokens, model FROM usage"
            ).fetchall()
            found: dict[str, Row] = {request_id: tuple(row[:4]) for request_id, *row in rows}
            assert len(found) == len(rows)
            for life in self._lives:
                for call, request_id in life.request_ids.items():
                    assert found.pop(request_id, None) in life.may_leave(call), (call, life)
            assert not found, "calls that nobody made"
            assert {row[5] for row in rows} <= {"tiny", LONG_NAME}
            self._check_sums(ledger)
        self._check_folder()

    def _check_sums(self, ledger: sqlite3.Connection) -> None:
        groups = "SELECT model, usage_source, {} FROM {} GROUP BY model, usage_source ORDER BY 1, 2"
        sums = "sum({}), sum(prompt_tokens), sum(completion_tokens)"
        by_hour = ledger.execute(groups.format(sums.format("calls"), "usage_hour")).fetchall()
        assert by_hour == ledger.execute(groups.format(sums.format("1"), "usage")).fetchall()
        for table in ("project_hour", "usage_day", "project_day"):
            by_day = ledger.execute(
                f"SELECT model, {sums.format('calls')} FROM {table} GROUP BY 1 ORDER BY 1"
            )
            by_row = f"SELECT model, {sums.format('1')} FROM usage GROUP BY 1 ORDER BY 1"
            assert by_day.fetchall() == ledger.execute(by_row).fetchall(), table
        (used,) = ledger.execute(
            "SELECT coalesce(sum(prompt_tokens + completion_tokens), 0) FROM usage"
        ).fetchone()
        balances = ledger.execute("SELECT used, leased FROM limit_balance").fetchall()
        assert balances in ([(used, 0)], [] if not used else None), (balances, used)
        assert ledger.execute("SELECT * FROM lease WHERE held <> 0").fetchall() == []

    def _check_folder(self) -> None:
        assert not (self.data_dir / "journal" / "quarantine").exists()
        for folder in folders(self.data_dir):
            assert not leaves_something(folder)
            assert end_position(folder, read_cursor(folder)) == read_cursor(folder)
