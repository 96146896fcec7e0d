"""The load of a race, in a process of its own: `python -m race.load` reads a LoadPlan, makes its calls, and
writes a LoadReport.

Owns the clients and what each does with its answer. SIGTERM ends the load early: no new calls, and what runs
is read to its end. Must not know limits, prices or the ledger.
"""

from __future__ import annotations

import asyncio
import gc
import random
import signal
import sys
import time

import msgspec
import uvloop

from bench.figures import percentile
from race.client import Answer, Connection
from race.plan import Group, GroupReport, LoadPlan, LoadReport, calls_of

FOR_GOOD = "insufficient_quota"
FOR_NOW = "rate_limit_exceeded"
_LAST_CALLS_S = 30.0
_WAIT_S_MAX = 30.0
_ANEW_S = 0.1  # after a connection that was closed, and a refusal that names no time


class Load:
    """All clients of one plan, and what they have seen."""

    def __init__(self, plan: LoadPlan) -> None:
        self.plan = plan
        self.reports = [GroupReport(group.name, refused={}, statuses={}) for group in plan.groups]
        self.latencies: list[list[float]] = [[] for _ in plan.groups]
        self.stopping = asyncio.Event()
        self.why = ""
        self.refused_for_good: set[Client] = set()  # since anybody was admitted
        self.in_flight = 0
        self.last_admission_s = asyncio.get_running_loop().time()
        self.refusals = 0
        self.retries = self.retries_admitted = self.late_admissions = 0
        self.anybody_refused_for_good = False
        self.last_admission_us = 0
        self.refused_since: dict[str, int] = {}

    def stop(self, why: str) -> None:
        """No new calls from here on."""
        if not self.why:
            self.why = why
            self.stopping.set()

    async def run(self) -> LoadReport:
        """The whole load."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop, "told")
        began_us = time.time_ns() // 1000
        clients = [
            asyncio.create_task(Client(self, at, number).run())
            for at, group in enumerate(self.plan.groups)
            for number in range(group.clients)
        ]
        watch = asyncio.create_task(self._watch())
        _, late = await asyncio.wait(clients, timeout=self.plan.seconds + _LAST_CALLS_S)
        ended_us = time.time_ns() // 1000
        for task in (*late, watch):
            task.cancel()
        for client in clients:
            if client.done() and not client.cancelled():
                client.result()
        for report, latencies in zip(self.reports, self.latencies, strict=True):
            if latencies:
                report.latency_p50_s = percentile(latencies, 0.5)
                report.latency_p95_s = percentile(latencies, 0.95)
        return LoadReport(
            self.reports,
            began_us,
            ended_us,
            self.why,
            self.retries,
            self.retries_admitted,
            self.late_admissions,
            self.last_admission_us,
            self.refused_since,
            time.process_time(),
        )

    async def _watch(self) -> None:
        loop, plan = asyncio.get_running_loop(), self.plan
        clients = sum(group.clients for group in plan.groups)
        until = loop.time() + plan.seconds
        while not self.stopping.is_set():
            await asyncio.sleep(0.05)
            quiet_s = loop.time() - self.last_admission_s
            if loop.time() >= until:
                self.stop("time")
            elif plan.refusals_max is not None and self.refusals >= plan.refusals_max:
                self.stop("enough")
            elif (
                plan.quiet_s is not None
                and quiet_s >= plan.quiet_s
                and len(self.refused_for_good) == clients
                and not self.in_flight
            ):
                self.stop("refused")


class Client:
    """One client: asks, waits as it was told or as it likes, asks again."""

    def __init__(self, load: Load, group_at: int, number: int) -> None:
        self._load = load
        self._group: Group = load.plan.groups[group_at]
        self._report = load.reports[group_at]
        self._latencies = load.latencies[group_at]
        seed = f"{load.plan.seed}/{self._group.name}/{number}"
        self._calls = calls_of(self._group, random.Random(seed))
        # A generator of its own for waits: how often it must wait changes nothing about what it asks for.
        self._dice = random.Random(f"{seed}/waits")
        self._jitters = self._dice.random() < self._group.traits.jitter_share
        self._connection = Connection(load.plan.port)

    async def run(self) -> None:
        """Until the load stops."""
        load, loop = self._load, asyncio.get_running_loop()
        await self._rest(self._dice.random() * min(1.0, self._group.pause_s))
        while not load.stopping.is_set():
            asked = next(self._calls)
            self._report.asked += 1
            waited = False
            while not load.stopping.is_set():
                load.in_flight += 1
                self._report.attempts += 1
                began_s = loop.time()
                try:
                    answer = await self._connection.call(asked)
                finally:
                    load.in_flight -= 1
                admitted = self._note(answer, began_s, streamed=asked.streamed)
                if waited:
                    load.retries += 1
                    load.retries_admitted += admitted
                wait_s, waited = self._wait_s(answer, admitted)
                if wait_s > 0:
                    await self._rest(wait_s)
                if admitted or not self._group.heeds:
                    break
        self._connection.close()

    def _note(self, answer: Answer, began_s: float, *, streamed: bool) -> bool:
        """Counts; whether the call was admitted."""
        load, report = self._load, self._report
        status = str(answer.status)
        report.statuses[status] = report.statuses.get(status, 0) + 1
        admitted = answer.status == 200
        for_good = answer.code == FOR_GOOD
        if for_good:
            load.refused_for_good.add(self)
        if admitted:
            report.admitted += 1
            load.last_admission_s = asyncio.get_running_loop().time()
            load.last_admission_us = time.time_ns() // 1000
            load.refused_since = {}
            load.refused_for_good.clear()
            load.late_admissions += load.anybody_refused_for_good
            if answer.left:
                report.left += 1
            elif answer.whole:
                self._latencies.append((answer.first_byte_s if streamed else answer.ended_s) - began_s)
            else:
                report.broken += 1
        elif answer.left:
            report.left += 1
            return True  # nobody waited for the answer: whether it was let in is not known here
        elif not answer.status:
            report.unanswered += 1
        else:
            report.refused[answer.code] = report.refused.get(answer.code, 0) + 1
            load.refusals += 1
            load.refused_since[answer.code] = load.refused_since.get(answer.code, 0) + 1
            load.anybody_refused_for_good = load.anybody_refused_for_good or for_good
        return admitted

    def _wait_s(self, answer: Answer, admitted: bool) -> tuple[float, bool]:
        """How long to rest, and whether that is what the client was told."""
        load, group = self._load, self._group
        if admitted or (answer.status and not group.heeds):
            return group.pause_s * (0.5 + self._dice.random()), False
        if answer.code == FOR_GOOD:
            return load.plan.final_pause_s * (0.5 + self._dice.random()), False
        if answer.wait_ms is None:
            return _ANEW_S * (0.5 + self._dice.random()), False
        told_s = min(_WAIT_S_MAX, answer.wait_ms / 1000)
        return told_s * (1 + self._dice.random() / 2 if self._jitters else 1), True

    async def _rest(self, seconds: float) -> None:
        """Waits, but not past the end of the load."""
        if seconds > 0:
            try:
                await asyncio.wait_for(self._load.stopping.wait(), seconds)
            except TimeoutError:
                return


async def _main() -> LoadReport:
    plan = msgspec.json.decode(sys.stdin.buffer.read(), type=LoadPlan)
    gc.freeze()
    return await Load(plan).run()


if __name__ == "__main__":
    sys.stdout.buffer.write(msgspec.json.encode(uvloop.run(_main())))
