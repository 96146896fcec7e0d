"""Streams on a worker that is busy to the last: the ledger's answers come late, and the budget has plenty.

Time is the test's: a step is a token for each stream, an exchange is answered as late as is said.
"""

import asyncio

import pytest

from ledger.database import Database
from ledger.limits import LimitKind, LimitWindow
from proxy.allowances import TICK_US
from proxy.hold import Hold
from tests.unit.proxy.test_admission_limits import Gate, a_gate, chat

PLENTY = 10**18


class Busy:
    """A gate whose desk is answered `late_us` after it asked, and streams that all began at once."""

    def __init__(self, gate: Gate, late_us: int) -> None:
        self.gate = gate
        self.late_us = late_us
        self.holds: list[Hold] = []
        self.tokens: dict[Hold, int] = {}
        self.ended: list[tuple[Hold, int]] = []

    async def begin(self, streams: int) -> None:
        opening = [asyncio.create_task(self.gate.admit(chat(stream=True))) for _ in range(streams)]
        for _, hold in await asyncio.gather(*opening):
            self.tokens[hold] = 0
        self.gate.bench.database.open.clear()

    async def run(self, seconds: float, step_us: int) -> None:
        """So many seconds; a token each `step_us`."""
        bench = self.gate.bench
        for _ in range(int(seconds * 1e6) // step_us):
            before_us = bench.now_us
            bench.now_us += step_us
            if bench.now_us // TICK_US != before_us // TICK_US:
                bench.desk._tick()
            await asyncio.sleep(0)
            if bench.desk._begun_us and bench.now_us >= bench.desk._begun_us + self.late_us:
                bench.database.open.set()
                while bench.desk._begun_us:
                    await asyncio.sleep(0)
                bench.database.open.clear()
                await asyncio.sleep(0)
            self._step()

    def _step(self) -> None:
        for hold in self.tokens:
            self.tokens[hold] += 1
            if self.tokens[hold] >= hold.trigger and not hold.grow(10, self.tokens[hold]):
                self.ended.append((hold, self.tokens[hold]))

    async def end(self) -> None:
        self.gate.bench.database.open.set()
        for hold in self.tokens:
            hold.release()
        await self.gate.bench.settled()


@pytest.mark.parametrize("step_us", [5_000, 20_000, 50_000])
@pytest.mark.parametrize("late_us", [300_000, 1_500_000, 4_800_000])
async def test_plenty_ends_no_stream_however_late_the_answers(
    ledger: Database, late_us: int, step_us: int
) -> None:
    """Guards against streams that end as at a limit of which next to nothing is used, because a busy core
    renews their leases late.
    """
    async with a_gate(ledger, (LimitKind.SPEND, LimitWindow.LIFETIME, PLENTY)) as gate:
        busy = Busy(gate, late_us)
        await busy.begin(60)
        await busy.run(16, step_us)
        await busy.end()
        assert not busy.ended, f"{len(busy.ended)} times, first at {busy.ended[0][1]} tokens"
