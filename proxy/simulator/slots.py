"""How many sequences run at once, who waits, and who is refused: --max-num-seqs and --max-num-queued-reqs."""

import asyncio
from collections import deque

from proxy.simulator.errors import Overloaded
from proxy.simulator.metrics import ModelCounters


class Slots:
    """First come, first served. A call takes a slot for each of its sequences, at most all of them."""

    def __init__(self, size: int, queue_max: int | None) -> None:
        self._size = size
        self._free = size
        self._queue_max = queue_max
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    def take_now(self, wanted: int, counters: ModelCounters) -> bool:
        """Without waiting, if there is room and nobody waits. Raises Overloaded where the queue is full."""
        wanted = min(wanted, self._size)
        if not self._waiting and self._free >= wanted:
            self._free -= wanted
            counters.num_requests_running += wanted
            return True
        if self._queue_max is not None and len(self._waiting) >= self._queue_max:
            counters.rejected += 1
            raise Overloaded
        return False

    async def wait(self, wanted: int, counters: ModelCounters) -> None:
        """Until the slots are free; a cancelled wait gives its place up."""
        wanted = min(wanted, self._size)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((wanted, turn))
        counters.num_requests_waiting += 1
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._free += wanted
            elif (wanted, turn) in self._waiting:
                self._waiting.remove((wanted, turn))
            self._next()
            raise
        finally:
            counters.num_requests_waiting -= 1
        counters.num_requests_running += wanted

    def give_back(self, taken: int, counters: ModelCounters) -> None:
        taken = min(taken, self._size)
        self._free += taken
        counters.num_requests_running -= taken
        self._next()

    def _next(self) -> None:
        while self._waiting and self._waiting[0][0] <= self._free:
            wanted, turn = self._waiting.popleft()
            if not turn.done():
                self._free -= wanted
                turn.set_result(None)
