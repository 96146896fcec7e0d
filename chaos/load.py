"""The load of the chaos, in a process of its own: `python -m chaos.load` reads a LoadPlan, makes its calls,
and writes a CallReport for each.

Owns the clients. SIGTERM ends the load: no new calls, and what runs goes on to its end. Must not know limits,
prices or the ledger, nor what is being broken.
"""

from __future__ import annotations

import asyncio
import random
import signal
import sys

import msgspec
import uvloop

from chaos.client import call
from chaos.plan import CallReport, Group, LoadPlan, calls_of

_LAST_CALLS_S = 60.0


class Load:
    """All clients of one plan."""

    def __init__(self, plan: LoadPlan) -> None:
        self._plan = plan
        self._stopping = asyncio.Event()
        self._reports: list[CallReport] = []

    async def run(self) -> list[CallReport]:
        """Until told to stop; every call that was made."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        clients = [
            asyncio.create_task(self._client(group, number))
            for group in self._plan.groups
            for number in range(group.clients)
        ]
        loop.call_later(self._plan.seconds_max, self._stopping.set)
        _, late = await asyncio.wait(clients, timeout=self._plan.seconds_max + _LAST_CALLS_S)
        for client in late:
            client.cancel()
        for client in clients:
            if client.done() and not client.cancelled():
                client.result()
        return self._reports

    async def _client(self, group: Group, number: int) -> None:
        plan = self._plan
        dice = random.Random(f"{plan.seed}/{group.name}/{number}")
        waits = random.Random(f"{plan.seed}/{group.name}/{number}/waits")
        for asked in calls_of(plan.seed, group, number, dice):
            if self._stopping.is_set():
                return
            report = await call(plan.port, group.name, asked)
            self._reports.append(report)
            served = report.status == 200 or report.left
            await self._rest((0.05 if served else 0.4) * (0.5 + waits.random()))

    async def _rest(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._stopping.wait(), seconds)
        except TimeoutError:
            return


async def _main() -> list[CallReport]:
    return await Load(msgspec.json.decode(sys.stdin.buffer.read(), type=LoadPlan)).run()


if __name__ == "__main__":
    sys.stdout.buffer.write(msgspec.json.encode(uvloop.run(_main())))
