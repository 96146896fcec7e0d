"""An event that one task at a time waits for.

As asyncio.Event, at a sixth of its memory: each of those has a queue of waiters, and an open stream has
three.
"""

import asyncio


class Bell:
    """Rings until it is cleared. What uvicorn uses of asyncio.Event."""

    __slots__ = ("_is_set", "_waiter")

    def __init__(self, *, is_set: bool = False) -> None:
        self._is_set = is_set
        self._waiter: asyncio.Future[None] | None = None

    def is_set(self) -> bool:
        """Whether it rings."""
        return self._is_set

    def set(self) -> None:
        """Rings, and wakes who waits."""
        self._is_set = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def clear(self) -> None:
        """Rings no more; who was woken goes on all the same."""
        self._is_set = False

    async def wait(self) -> bool:
        """Returns when it has rung. Another may wait only when the last has gone on."""
        if not self._is_set:
            assert self._waiter is None, "one at a time"
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return True
