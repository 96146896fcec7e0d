"""A call's coroutine, run in the callbacks that it waits for: most calls end without a task of asyncio's.

Owns how such a coroutine begins, goes on and ends, and the event it can wait for. Knows nothing of what it
does. Rules:

- It begins at once, within `Eager()`, and goes on within the `Bell.set` that it waits for: so who rings a
  bell does so last, when all that it owns is in order.
- Where it waits for anything else of asyncio's, the rest of it becomes a task, as if it had always been one.
- What needs a task from its beginning (`asyncio.timeout`) stands behind `await in_task()`.
"""

import asyncio
from collections.abc import Coroutine, Generator
from contextlib import suppress
from types import coroutine
from typing import Any, Final

_running: "Eager | None" = None
"""Whose step is under way, while it is no task's."""


class Bell:
    """Rings until it is cleared; one coroutine at a time waits for it: `await bell`.

    In a task it is what asyncio.Event is, at a sixth of its memory.
    """

    __slots__ = ("_is_set", "_waiter")

    def __init__(self) -> None:
        self._is_set = False
        self._waiter: asyncio.Future[None] | Eager | None = None

    def is_set(self) -> bool:
        """Whether it rings."""
        return self._is_set

    def set(self) -> None:
        """Rings, and wakes who waits: an Eager goes on before this returns."""
        self._is_set = True
        waiter, self._waiter = self._waiter, None
        if waiter is None:
            return
        if isinstance(waiter, Eager):
            waiter.step()
        elif not waiter.done():
            waiter.set_result(None)

    def clear(self) -> None:
        """Rings no more; who was woken goes on all the same."""
        self._is_set = False

    def __await__(self) -> Generator[Any, None, None]:
        """Goes on when it has rung. Another may wait only when the last has gone on."""
        if self._is_set:
            return
        assert self._waiter is None, "one at a time"
        try:
            if _running is not None:
                self._waiter = _running
                yield self
            else:
                self._waiter = asyncio.get_running_loop().create_future()
                yield from self._waiter
        finally:
            self._waiter = None


class Eager:
    """One coroutine on its way. It keeps itself in `among` until it is over."""

    __slots__ = ("_among", "_coroutine", "_task")

    def __init__(self, coroutine: Coroutine[Any, Any, None], among: set[Any]) -> None:
        self._coroutine: Final = coroutine
        self._among: Final = among
        self._task: asyncio.Task[None] | None = None
        among.add(self)
        self.step()

    def step(self, error: BaseException | None = None) -> None:
        """Goes on to the next wait, or to the end; with `error` raised where it waits."""
        global _running  # noqa: PLW0603
        before, _running = _running, self
        try:
            waits_for = self._coroutine.send(None) if error is None else self._coroutine.throw(error)
        except (StopIteration, asyncio.CancelledError):
            self._among.discard(self)
        except Exception as fault:
            self._among.discard(self)
            told = {"message": "a call ended with a fault", "exception": fault}
            asyncio.get_running_loop().call_exception_handler(told)
        else:
            if type(waits_for) is not Bell:
                self._task = asyncio.get_running_loop().create_task(_rest(self._coroutine, waits_for))
                self._task.add_done_callback(self._over)
        finally:
            _running = before

    def cancel(self, msg: Any = None) -> None:
        """As a task's."""
        if (
            self._task is not None
        ):  # which may not have begun: cancelled now, it would never tell the coroutine
            asyncio.get_running_loop().call_soon(self._task.cancel, msg)
        else:
            self.step(asyncio.CancelledError())

    def _over(self, _task: "asyncio.Task[None]") -> None:
        self._among.discard(self)


@coroutine
def in_task() -> Generator[None, None, None]:
    """From here on in a task."""
    if _running is not None:
        yield


async def _rest(begun: Coroutine[Any, Any, None], waits_for: Any) -> None:
    await _Rest(begun, waits_for)


class _Rest:
    """The rest of a coroutine that has begun and waits for `waits_for`, which its task has yet to see."""

    __slots__ = ("_begun", "_waits_for")

    def __init__(self, begun: Coroutine[Any, Any, None], waits_for: Any) -> None:
        self._begun = begun
        self._waits_for = waits_for

    def __await__(self) -> Generator[Any, Any, None]:
        waits_for = self._waits_for
        with suppress(StopIteration):
            while True:
                try:
                    sent = yield waits_for
                except BaseException as error:
                    waits_for = self._begun.throw(error)
                else:
                    waits_for = self._begun.send(sent)
