"""One outage from its beginning to the last row: who is started, stopped and asked, and what must hold.

Owns the ledger's owner's view: keys and limits before, counts and sums after. Must not know how a
worker works.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from ledger import limit_settings, prices, tenancy
from ledger.journal.reader import end_position
from ledger.journal.segments import read_cursor, segment_numbers, worker_folder
from ledger.limit_settings import LimitScope
from ledger.limits import LimitKind, LimitWindow
from ledger.money import Rates
from ledger.secret_key import pepper
from ledger.settings import LedgerSettings
from ledger.states import OutagePolicy
from race.finding import Finding
from race.outage.memory import resident_bytes
from race.owner import in_ledger
from race.postgresql import Server, make_template
from race.processes import ROOT, Process, now_us, outside

T = TypeVar("T")
MIB: Final = 1 << 20
GROWTH_BYTES_MAX: Final = 8 * MIB
"""What memory may grow by over an hour. Half a million calls that leaked 16 bytes each would show."""
OPEN_TOKENS: Final = 100_000
"""The budget of the tenant that fails open: an hour passes it by far."""

_HOUR_AGO_US: Final = 2 * 3_600_000_000
_RATES: Final = Rates(1_000_000, 500_000, 3_000_000)
_SILENCE_S: Final = 600.0
_STUCK_S: Final = 60.0
_SUMS: Final = "sum(prompt_tokens), sum(completion_tokens), sum(amount_picos)"


class Hour:
    """An outage of `calls` calls; what is found goes into `finding`. `folder` is its own."""

    def __init__(self, server: Server, folder: Path, calls: int, finding: Finding) -> None:
        self._server = server
        self._calls = calls
        self._finding = finding
        self._data = folder / "data"
        self._data.mkdir()
        self._url = server.named(make_template(server.url, f"hour_{calls}"))
        self._folder = folder
        self._env = {
            **outside(), "METERGATE_DATA_DIR": str(self._data), "METERGATE_DATABASE_URL": self._url
        }  # fmt: skip

    def run(self, say: Callable[[str], None]) -> None:
        """All of it."""
        plan = self._folder / "plan.json"
        plan.write_text(json.dumps(in_ledger(self._url, self._furnish)))
        poster = Process("ledger.poster", fd=None, env=self._env, words=self._folder / "words")
        poster.ready()
        worker = subprocess.Popen(
            [sys.executable, "-m", "race.outage.worker", str(plan)],
            cwd=ROOT, env=self._env, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        try:
            self._hear(worker)
            self._server.stop()
            say("PostgreSQL is stopped")
            _tell(worker, "outage")
            done = self._outage(worker, say)
            self._server.start()
            say("PostgreSQL is started")
            _tell(worker, "on")
            self._catch_up(done["calls"], poster.pid, say)
            _tell(worker, "end")
            after = self._hear(worker)
            assert worker.wait(60) == 0
            self._judge(done, after)
        finally:
            worker.kill()
            with worker:  # waits, and closes both pipes
                pass
            status = poster.stop()
            self._finding.hold(status == 0, f"the poster ended with {status}")

    async def _furnish(self, session: AsyncSession) -> dict[str, Any]:
        at_us = now_us() - _HOUR_AGO_US
        await prices.set_price(session, "m", _RATES, at_us)
        keys: dict[str, list[str]] = {}
        for kind in ("free", "open", "prepaid"):
            policy = OutagePolicy.FAIL_OPEN if kind == "open" else OutagePolicy.FAIL_CLOSED
            tenant = await tenancy.create_tenant(session, kind, at_us, outage_policy=policy)
            await session.flush()
            project = await tenancy.create_project(session, tenant.id, "p", at_us)
            await session.flush()
            secret = pepper(LedgerSettings(data_dir=self._data))
            made = [await tenancy.create_api_key(session, secret, project.id, "k", at_us) for _ in range(50)]
            keys[kind] = [shown for _, shown in made]
            scope = LimitScope(tenant_id=tenant.id)
            lifetime, minute = LimitWindow.LIFETIME, LimitWindow.MINUTE
            wanted: list[tuple[LimitKind, LimitWindow | None, int]] = []
            if kind == "open":
                wanted = [
                    (LimitKind.TOKENS, lifetime, OPEN_TOKENS),
                    (LimitKind.REQUESTS, minute, 60_000),
                    (LimitKind.CONCURRENT, None, 1000),
                ]
            elif kind == "prepaid":
                wanted = [(LimitKind.SPEND, lifetime, 10**15)]
            for limit_kind, window, max_value in wanted:
                await limit_settings.set_limit(session, scope, limit_kind, window, max_value, at_us)
        return {"data_dir": str(self._data), "database_url": self._url, "calls": self._calls, **keys}

    def _outage(self, worker: subprocess.Popen[str], say: Callable[[str], None]) -> dict[str, Any]:
        figures, memory = self._finding.figures, []
        while "done" not in (line := self._hear(worker)):
            memory.append(line["rss"])
            say(f"minute {line['minute']:3}: {line['rss'] / MIB:6.1f} MiB  " + json.dumps(line))
        figures["settled in s"] = round(line["done"], 1)
        figures["worker MiB"] = f"{memory[0] / MIB:.1f}..{memory[-1] / MIB:.1f}"
        grown = memory[-1] - memory[0]
        self._finding.hold(grown < GROWTH_BYTES_MAX, f"the worker's memory grew by {grown / MIB:.1f} MiB")
        self._finding.hold(line["alone"] > self._calls // 3, "hardly a call went without the ledger")
        figures["alone"] = line["alone"]
        figures["refused"] = line["refused"]
        return line

    def _catch_up(self, calls: int, poster: int, say: Callable[[str], None]) -> None:
        """Until what the outage left is in the ledger."""
        figures = self._finding.figures
        begun, first, memory = time.monotonic(), 0.0, [resident_bytes(poster)]
        at_first = self._posted()
        shown, last, progress_at = 0.0, at_first, begun
        while True:
            posted, now = self._posted(), time.monotonic()
            if posted > last:
                last, progress_at = posted, now
            memory.append(resident_bytes(poster))
            if posted > at_first and not first:
                first = now
                at_first = posted
            if posted >= calls:
                break
            if now - shown > 5:
                shown = now
                say(f"{now - begun:6.1f} s: {posted} of {calls}, poster {memory[-1] / MIB:.1f} MiB")
            assert now - progress_at < _STUCK_S, f"stuck at {posted} of {calls}"
            time.sleep(0.5)
        figures["begins after s"] = round(first - begun, 1)
        figures["caught up in s"] = round(now - begun, 1)
        figures["rows/s"] = round((posted - at_first) / max(0.1, now - first))
        figures["poster MiB"] = f"{memory[0] / MIB:.1f}..{max(memory) / MIB:.1f}"
        grown = max(memory) - memory[0]
        self._finding.hold(grown < 4 * GROWTH_BYTES_MAX, f"the poster's memory grew by {grown / MIB:.1f} MiB")

    def _judge(self, done: dict[str, Any], after: dict[str, Any]) -> None:
        """Counts and sums, exactly; then nothing waits any more."""
        hold, figures = self._finding.hold, self._finding.figures
        figures["new calls"], figures["their p99 ms"] = after["waits"], round(after["p99_ms"], 1)
        hold(after["refused_after"] == 0, f"{after['refused_after']} new calls were refused")
        hold(after["exhausted"] > 0, "the budget that the outage passed refuses nobody")
        folder = worker_folder(self._data, 0)
        posted, progress_at = read_cursor(folder), time.monotonic()
        while posted != end_position(folder, posted):
            assert time.monotonic() - progress_at < _STUCK_S, f"stuck at {posted}"
            time.sleep(0.05)
            if (now := read_cursor(folder)) != posted:
                posted, progress_at = now, time.monotonic()
        tokens = (after["prompt_tokens"], after["completion_tokens"])
        amount = tokens[0] * 1_000_000 + tokens[1] * 3_000_000
        told = (after["calls"], *tokens, amount)
        for what, query in (
            ("usage rows", f"SELECT count(*), {_SUMS} FROM usage"),
            ("hourly sums", f"SELECT sum(calls), {_SUMS} FROM usage_hour"),
        ):
            found = tuple(int(one) for one in self._one(query))
            hold(found == told, f"{what}: {found} instead of {told}")
        used, leased, of_open = (int(one) for one in self._one(_BALANCE))
        hold(used == of_open > OPEN_TOKENS, f"the open tenant's balance is {used}, its rows have {of_open}")
        hold(leased == 0, f"{leased} units are still leased")
        figures["overage tokens"] = used - OPEN_TOKENS
        left = segment_numbers(folder)
        hold(len(left) <= 1, f"segments are left: {left}")
        in_hand = done.get("prepaid_in_hand", 0)  # these the worker does not count towards its calls
        hold(done["calls"] == self._calls + in_hand, f"{done['calls']} calls were settled in the outage")

    def _posted(self) -> int:
        return int(self._one("SELECT coalesce(sum(calls), 0) FROM usage_hour")[0])

    def _one(self, query: str) -> Any:
        async def ask(session: AsyncSession) -> Any:
            return tuple((await session.execute(text(query))).one())

        return in_ledger(self._url, ask)

    def _hear(self, worker: subprocess.Popen[str]) -> dict[str, Any]:
        """The worker's next line."""
        assert worker.stdout is not None
        patience = threading.Timer(_SILENCE_S, worker.kill)
        patience.start()
        line = worker.stdout.readline()
        patience.cancel()
        assert line, f"the worker is silent: {worker.poll()}"
        heard: dict[str, Any] = json.loads(line)
        return heard


_BALANCE: Final = (
    "SELECT max(b.used), (SELECT coalesce(sum(leased), 0) FROM limit_balance),"
    " (SELECT sum(u.prompt_tokens + u.completion_tokens) FROM usage AS u"
    " WHERE u.tenant_id = max(l.tenant_id))"
    " FROM limit_balance AS b JOIN usage_limit AS l ON l.id = b.limit_id WHERE l.kind = 'tokens'"
)


def _tell(worker: subprocess.Popen[str], word: str) -> None:
    assert worker.stdin is not None
    print(word, file=worker.stdin, flush=True)
