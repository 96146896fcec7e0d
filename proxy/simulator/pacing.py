"""One clock for all streams: who is due, in the order of being due.

Runners with the same delay wait in one lane, a queue that is sorted by construction, so that pacing a stream
costs an append and a popleft a token, whatever the number of streams; a lane has one timer. A runner's
`step()` does what is due and answers the delay until its next step, 0 for as soon as others have had their
turn, or None when it is done.
"""

import asyncio
from collections import deque
from typing import Protocol

# A lane's timer does not fire more often than this: what is due within it is done together.
TICK_S = 0.001
# A runner that is later than this (the machine slept, or is overloaded) does not catch up.
LATENESS_MAX_S = 1.0


class Runner(Protocol):
    """What the pacer drives."""

    def step(self) -> float | None: ...


class Pacer:
    """Drives runners on the running event loop."""

    def __init__(self) -> None:
        self._lanes: dict[float, _Lane] = {}

    def start(self, runner: Runner, delay_s: float) -> None:
        """The first step comes after the delay."""
        loop = asyncio.get_running_loop()
        self._put(loop, loop.time(), delay_s, runner)

    def _put(self, loop: asyncio.AbstractEventLoop, since: float, delay_s: float, runner: Runner) -> None:
        if delay_s <= 0:
            loop.call_soon(self._soon, loop, runner)
            return
        lane = self._lanes.get(delay_s)
        if lane is None:
            lane = self._lanes[delay_s] = _Lane()
        lane.waiting.append((since + delay_s, runner))
        if not lane.armed:
            lane.armed = True
            loop.call_at(max(since + delay_s, loop.time()), self._run, loop, delay_s, lane)

    def _soon(self, loop: asyncio.AbstractEventLoop, runner: Runner) -> None:
        delay_s = runner.step()
        if delay_s is not None:
            self._put(loop, loop.time(), delay_s, runner)

    def _run(self, loop: asyncio.AbstractEventLoop, delay_s: float, lane: "_Lane") -> None:
        waiting = lane.waiting
        now = loop.time()
        limit = now + TICK_S / 2
        for _ in range(len(waiting)):
            due, runner = waiting[0]
            if due > limit:
                break
            waiting.popleft()
            next_delay_s = runner.step()
            if next_delay_s is None:
                continue
            since = due if now - due < LATENESS_MAX_S else now
            if next_delay_s == delay_s:
                waiting.append((since + delay_s, runner))
            else:
                self._put(loop, now, next_delay_s, runner)
        if waiting:
            loop.call_at(max(waiting[0][0], loop.time() + TICK_S), self._run, loop, delay_s, lane)
        else:
            lane.armed = False
            del self._lanes[delay_s]


class _Lane:
    __slots__ = ("armed", "waiting")

    def __init__(self) -> None:
        self.waiting: deque[tuple[float, Runner]] = deque()
        self.armed = False
