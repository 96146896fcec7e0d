"""The worker of an hour's outage: `python -m race.outage.worker PLAN.json`, told what to do on stdin,
answering in lines of JSON.

Owns the parts of one worker without its sockets, put together as `proxy.worker` does, and the calls that are
made of them. Must not know the server that is stopped meanwhile.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import uvloop

from ledger.direct_database import DirectDatabase
from ledger.ids import new_request_id
from ledger.journal.segments import worker_folder
from ledger.journal.writer import JournalWriter
from ledger.keys import mint
from ledger.record import CallRecord, Ending
from ledger.secret_key import pepper
from ledger.settings import LedgerSettings
from ledger.usage import Usage, UsageSource
from proxy.admission import Admission, Limits
from proxy.auth import Authenticator
from proxy.call import Call, read_call
from proxy.endpoints import CHAT
from proxy.errors import ApiError, LedgerUnavailable, QuotaExhausted, RateLimited
from proxy.fields import Limits as FieldLimits
from proxy.flight import FlightRecorder
from proxy.hold import Hold
from proxy.leasing import LeaseDesk
from proxy.metrics import Metrics
from proxy.plans import PlanBook
from proxy.priced import PricedModels
from proxy.settlement import SettledCalls, Settlement
from race.outage.memory import resident_bytes

PER_SECOND: Final = 200
IN_FLIGHT: Final = 400
STEPS: Final = 12
BODY: Final = json.dumps(
    {
        "model": "m",
        "max_tokens": 64,
        "stream": True,
        "messages": [{"role": "user", "content": "How high are the hills behind the quarry?"}],
    }
).encode()


class _Engines:
    """What admission knows of the engines."""

    def known(self, model: str) -> bool:
        return True

    def any_healthy(self) -> bool:
        return True

    def context_tokens(self, model: str) -> int | None:
        return 4096


class Worker:
    """One worker's parts. `plan` names its database, folder and keys; `calls`: how many the outage has."""

    def __init__(self, plan: dict[str, Any]) -> None:
        settings = LedgerSettings(data_dir=Path(plan["data_dir"]), database_url=plan["database_url"])
        self.calls: int = plan["calls"]
        self.free, self.open, self.prepaid = (
            [key.encode() for key in plan[kind]] for kind in ("free", "open", "prepaid")
        )
        self._turned_us = 0  # by the calls of the outage
        self._begun_us = time.time_ns() // 1000 - self.calls * 1_000_000 // PER_SECOND
        self._is_real = False
        self.database = DirectDatabase(settings.database_url, pool_size=3)
        folder = worker_folder(settings.data_dir, 0)
        journal = JournalWriter(folder)
        self.settled = SettledCalls(journal, FlightRecorder(folder))
        self.metrics = Metrics()
        self.authenticator = Authenticator(self.database, pepper(settings), self.now_us, 14_400)
        self.priced = PricedModels(self.database, self.now_us)
        self.desk = LeaseDesk(self.database, 0, self.now_us, journal.begin_holder, self.metrics.exchanged)
        self.plans = PlanBook(self.desk.account, self.priced.rates_of)
        self.alone = 0
        self.admission = Admission(
            _Engines(),  # type: ignore[arg-type]
            Limits(self.desk, self.plans, self._count, "USD", self.metrics.refused, self._alone),
            has_room=self.settled.has_room,
            is_priced=self.priced.is_priced,
            refuse_unpriced=True,
        )
        self.tally = {"calls": 0, "prompt_tokens": 0, "completion_tokens": 0, "of_open": 0, "refused": 0}
        self.running: deque[tuple[Settlement, int]] = deque()

    def now_us(self) -> int:
        """The clock: the calls turn it until the outage is over."""
        return time.time_ns() // 1000 if self._is_real else self._begun_us + self._turned_us

    async def _count(self, call: Call) -> int | None:
        return 10

    def _alone(self) -> None:
        self.alone += 1
        self.metrics.alone()

    async def start(self) -> None:
        """As `proxy.worker`, and every key has been used once."""
        await self.priced.start()
        await self.desk.start()
        await self.authenticator.start()
        for secret in (*self.free, *self.open, *self.prepaid):
            await self.authenticator.find(secret)
        for secret in (self.open[0], self.prepaid[0]):
            await self.call(secret)

    async def call(self, secret: bytes) -> None:
        """One call, from its key to its place among those that run. Raises ApiError."""
        principal = self.authenticator.cached(secret) or await self.authenticator.find(secret)
        call, started_us = read_call(CHAT, BODY, FieldLimits()), self.now_us()
        self.admission.check(principal, call)
        hold: Hold | None = None
        if (plan := self.admission.plan(principal, call, started_us)) is not None:
            hold = self.admission.take(plan, call, len(BODY))
            if hold is None:
                call, hold = await self.admission.obtain(plan, call, len(BODY))
        settlement = Settlement(
            self.settled,
            self._observe,
            self.now_us,
            new_request_id(started_us),
            principal,
            call,
            started_us,
            hold,
        )
        settlement.sent("http://127.0.0.1:8000")
        settlement.answered()
        self.running.append((settlement, self.tally["calls"] % 60 + 1))
        if principal.tenant_id == self.open_tenant:
            self.tally["of_open"] += 1
        while len(self.running) > IN_FLIGHT:
            self.end_one()

    @property
    def open_tenant(self) -> str:
        """The tenant that fails open."""
        principal = self.authenticator.cached(self.open[0])
        assert principal is not None
        return principal.tenant_id

    def _observe(self, record: CallRecord) -> None:
        self.tally["calls"] += 1
        self.tally["prompt_tokens"] += record.prompt_tokens
        self.tally["completion_tokens"] += record.completion_tokens
        self.metrics.settled(record)

    def end_one(self) -> None:
        """The oldest call that runs streams its tokens and ends."""
        settlement, tokens = self.running.popleft()
        for count in range(0, tokens, 8):
            settlement.count(11, count)
        settlement.settle(Ending.FINISHED, 200, Usage(11, 0, tokens), UsageSource.FINAL)

    async def outage(self) -> None:
        """All its calls; memory is said on the way."""
        while not (self.desk.is_away and not self.authenticator.ledger.ledger_answers):
            await asyncio.sleep(0.05)
        begun, admitted, target = time.monotonic(), 0, self.calls - len(self.running) - self.tally["calls"]
        while admitted < target:
            number = admitted
            secret = self.open[number % len(self.open)] if number % 2 else self.free[number % len(self.free)]
            await self.call(secret)
            admitted += 1
            self._turned_us += 1_000_000 // PER_SECOND
            if admitted % PER_SECOND == 0:
                await self._second(admitted)
            if admitted % (target // STEPS) == 0:
                say(minute=round(self._turned_us / 6e7), rss=resident_bytes(), **self._sizes())
        while self.running:
            self.end_one()
        self.metrics.flush()
        say(done=time.monotonic() - begun, alone=self.alone, **self.tally)

    async def _second(self, admitted: int) -> None:
        """What else is in a second: a prepaid call, an unknown key, the metrics, the tasks' turns."""
        for secret in (self.prepaid[admitted % len(self.prepaid)], mint().encode()):
            try:
                await self.call(secret)
                self.tally["prepaid_in_hand"] = self.tally.get("prepaid_in_hand", 0) + 1
            except LedgerUnavailable:
                self.tally["refused"] += 1
        self.metrics.flush()
        await asyncio.sleep(0)

    def _sizes(self) -> dict[str, int]:
        """What could grow."""
        return {
            "tasks": len(asyncio.all_tasks()),
            "accounts": len(self.desk._accounts),
            "asking": len(self.authenticator._asking),
            "slots": self.settled._flight.in_flight,
        }

    async def catch_up(self, until: asyncio.Event) -> None:
        """From now on in real time: 200 calls a second, each timed, until told to end."""
        self._is_real = True
        while self.authenticator.ledger.away_since_us or self.desk.is_away:
            await asyncio.sleep(0.05)
        waits: list[float] = []
        refused = exhausted = 0
        due = time.monotonic()
        while not until.is_set():
            for number in range(PER_SECOND // 20):
                kinds = (self.free, self.prepaid, self.open)
                secrets = kinds[number % 3]
                begun = time.monotonic()
                try:
                    await self.call(secrets[len(waits) % len(secrets)])
                except QuotaExhausted:
                    exhausted += 1
                except RateLimited:  # what is left of the open tenant's budget is held by other calls
                    refused += secrets is not self.open
                except ApiError:
                    refused += 1
                waits.append(time.monotonic() - begun)
            due += 0.05
            await asyncio.sleep(max(0.0, due - time.monotonic()))
        while self.running:
            self.end_one()
        waits.sort()
        say(
            waits=len(waits), p99_ms=waits[len(waits) * 99 // 100] * 1000, max_ms=waits[-1] * 1000,
            refused_after=refused, exhausted=exhausted, rss=resident_bytes(), **self.tally,
        )  # fmt: skip

    async def stop(self) -> None:
        """In the order of `proxy.worker`."""
        await self.priced.stop()
        await self.authenticator.stop()
        await self.desk.stop()
        self.settled.close()
        await self.database.close()


def say(**words: Any) -> None:
    """One line to who started us."""
    print(json.dumps(words), flush=True)


async def told() -> str:
    """The next line from there."""
    line: str = await asyncio.to_thread(sys.stdin.readline)
    return line.strip()


async def _run(plan: dict[str, Any]) -> None:
    worker = Worker(plan)
    await worker.start()
    say(ready=True, rss=resident_bytes())
    assert await told() == "outage"
    await worker.outage()
    assert await told() == "on"
    until = asyncio.Event()
    going_on = asyncio.create_task(worker.catch_up(until))
    assert await told() == "end"
    until.set()
    await going_on
    await worker.stop()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        uvloop.run(_run(json.loads(Path(sys.argv[1]).read_text())))
