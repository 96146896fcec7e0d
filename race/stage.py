"""What one race runs on: a fresh ledger, an engine, four workers and a poster, and the load beside them.

Owns their coming and going, the prices, and the waiting until everything is posted. Must not know what is
raced for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec
from prometheus_client import CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector

from bench.processes import cpu_s
from ledger import prices, tenancy
from ledger.limit_settings import LimitScope, set_limit
from ledger.limits import LimitKind, LimitWindow
from ledger.money import Rates, rate
from ledger.usage import Usage
from race.book import Book
from race.engine import RaceEngine
from race.owner import Most
from race.plan import MODEL, LoadPlan, LoadReport
from race.plane import Plane
from race.processes import now_us, start_load, wait_for

WORKERS: Final = 4
CLIENTS: Final = 64 * WORKERS
RATES: Final = Rates(5_000_000, 5_000_000, 15_000_000, 100)
"""5.00 and 15.00 a million tokens and 0.0001 a request: 1.00 is some 80,000 tokens."""

_ENGINE = ("--tokens-per-second", "50", "--max-model-len", "2048")
_KNOWN_S = 1.2
"""Prices and limits are in force on every worker within a second."""

_POSTED_S = 60.0
_STILL_S = 0.7
"""Postings come every 0.1 s while there is anything to post."""


def picos(prompt_tokens: int, completion_tokens: int) -> int:
    """What a call of so many tokens costs in a race."""
    return rate(Usage(prompt_tokens, 0, completion_tokens), RATES)


class RunningLoad:
    """The load's process while it runs."""

    def __init__(self, plan: LoadPlan, words: Path) -> None:
        self._limit_s = plan.seconds + 60
        self._answer = words.with_suffix(".report")
        self._process = start_load("race.load", msgspec.json.encode(plan), words, self._answer)
        self._words = words

    def watch(self, look: Callable[[], bool] = lambda: False, *, every_s: float = 0.25) -> LoadReport:
        """Waits for the load's end, and asks it to end once `look()` says so; its report."""
        until = time.monotonic() + self._limit_s
        told = False
        try:
            while self._process.poll() is None:
                assert time.monotonic() < until, f"the load did not end: {self._words.read_text()}"
                if not told and look():
                    told = True
                    self._process.terminate()
                time.sleep(every_s)
        finally:
            self._process.kill()
            self._process.wait()
        assert self._process.returncode == 0, f"the load failed: {self._words.read_text()}"
        return msgspec.json.decode(self._answer.read_bytes(), type=LoadReport)


class Stage:
    """One race's surroundings. `sets_limits` False: none is ever set, and everything must come out red."""

    def __init__(self, folder: Path, url: str, *, sets_limits: bool) -> None:
        """`folder` holds a folder `data` with the ledger, where that is SQLite."""
        self._folder = folder
        self._metrics = folder / "metrics"
        self._metrics.mkdir()
        self._sets_limits = sets_limits
        self._loads = 0
        self.engine = RaceEngine(folder / "engine.words", *_ENGINE)
        try:
            self.plane = Plane(
                folder / "data", [self.engine.url], workers=WORKERS, database_url=url, metrics=self._metrics
            )
        except BaseException:
            self.engine.stop()
            raise
        self.book = Book(url)
        self.plane.change(lambda session: prices.set_price(session, MODEL, RATES, now_us()))
        self._cpu_s: dict[str, float] = {}
        self._cpu_at_s = 0.0

    def close(self, *, in_peace: bool) -> None:
        """Ends everything; raises AssertionError where a process did not end in peace, if it should have."""
        try:
            if in_peace:
                statuses = self.plane.stop()
                assert set(statuses) <= {0}, (statuses, self.plane.words.read_text())
        finally:
            self.plane.kill()
            self.engine.stop()

    # What an operator does.

    def limit(
        self,
        kind: LimitKind,
        window: LimitWindow | None,
        max_value: int,
        *,
        tenant_id: str | None = None,
        project_id: str | None = None,
        api_key_id: str | None = None,
    ) -> str:
        """Sets a hard limit; its id, "" where this stage sets none."""
        if not self._sets_limits:
            return ""
        scope = LimitScope(tenant_id, project_id, api_key_id)
        return self.plane.change(
            lambda session: set_limit(session, scope, kind, window, max_value, now_us())
        ).id

    def new_tenant(self, name: str) -> tuple[str, str, str]:
        """(tenant's id, key's id, secret) of a new tenant with one project and key."""
        tenant = self.plane.change(lambda session: tenancy.create_tenant(session, name, now_us()))
        project = self.plane.change(
            lambda session: tenancy.create_project(session, tenant.id, name, now_us())
        )
        return (tenant.id, *self.plane.new_key(project.id))

    def new_tenants(self, names: Sequence[str], *limits: Most) -> list[str]:
        """The secrets of new tenants' keys, one each; the limits are each tenant's, where limits are set."""
        return self.plane.new_tenants(names, limits if self._sets_limits else ())

    # What is run and read.

    def start_load(self, plan: LoadPlan) -> RunningLoad:
        """Starts the load once what was set is in force."""
        time.sleep(_KNOWN_S)
        self._loads += 1
        self._cpu_s, self._cpu_at_s = self._cpu_now_s(), time.monotonic()
        return RunningLoad(plan, self._folder / f"load{self._loads}.words")

    def load(self, plan: LoadPlan, look: Callable[[], bool] = lambda: False) -> LoadReport:
        """Runs one load to its end."""
        return self.start_load(plan).watch(look)

    def _cpu_now_s(self) -> dict[str, float]:
        return {
            "workers": cpu_s(tuple(process.pid for process in self.plane.workers)),
            "poster": cpu_s((self.plane.poster.pid,)),
            "engine": cpu_s((self.engine.process.pid,)),
        }

    def cpu(self, report: LoadReport) -> dict[str, float]:
        """Cores used by each since the load began; where they add up to the machine's, no figure is worth
        much.
        """
        wall_s = time.monotonic() - self._cpu_at_s
        used = {f"cpu {name}": (now - self._cpu_s[name]) / wall_s for name, now in self._cpu_now_s().items()}
        return {"cpu load": report.cpu_s / report.seconds, **used}

    def settle(self, admitted: int) -> None:
        """Waits until the engine is idle and every call is posted: at least so many, and no more come."""
        wait_for(lambda: None if self.engine.running() else True, "the engine to be idle")
        until = time.monotonic() + _POSTED_S
        last, since = -1, time.monotonic()
        while time.monotonic() < until:
            count = self.book.count()
            if count != last:
                last, since = count, time.monotonic()
            elif time.monotonic() - since > _STILL_S and count >= admitted:
                return
            time.sleep(0.1)

    def idle_leased(self, limit_id: str, within_s: float) -> tuple[int, float]:
        """(what stays leased of a limit, seconds until it was nothing) once nobody calls any more."""
        began = time.monotonic()
        while True:
            leased = self.book.balance(limit_id)[1]
            took_s = time.monotonic() - began
            if not leased or took_s > within_s:
                return leased, took_s
            time.sleep(0.05)

    def spent_by_engine(self) -> int:
        """What the engine has made so far, in picos at the race's prices, requests aside."""
        totals = self.engine.totals()
        return picos(totals["prompt_tokens"], totals["generated_tokens"]) - picos(0, 0)

    def counted(self) -> tuple[float | None, float]:
        """(lease exchanges, calls answered with 200) by the workers' own counts, which each writes down
        together once a second; no exchanges are None where the workers do not count them.
        """
        registry = CollectorRegistry()
        MultiProcessCollector(registry, path=str(self._metrics))  # type: ignore[no-untyped-call]
        samples = [sample for family in registry.collect() for sample in family.samples]
        exchanges = [each.value for each in samples if each.name == "metergate_lease_exchanges_total"]
        answered = [
            each.value
            for each in samples
            if each.name == "metergate_requests_total" and each.labels["status"] == "200"
        ]
        return (sum(exchanges) if exchanges else None), sum(answered)


@contextmanager
def stage(folder: Path, url: str, *, sets_limits: bool = True) -> Iterator[Stage]:
    """A stage that is gone at the end, whatever happened on it."""
    running = Stage(folder, url, sets_limits=sets_limits)
    try:
        yield running
    except BaseException:
        running.close(in_peace=False)
        raise
    running.close(in_peace=True)
