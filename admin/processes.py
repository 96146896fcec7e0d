"""The supervisor: starts a handful of processes, keeps them running, renews them, and ends them in order.

Owns the life of the children (admin/child.py) and nothing of what they do. Rules:

- A child runs in a session of its own, so that Ctrl-C in a terminal reaches the supervisor alone and a
  child is told to stop once.
- The first SIGTERM, SIGINT or SIGHUP stops the children stage by stage and lets them finish; the second
  hurries. `on_stop` comes before the first child is told.
- They start in the order given, as many at a time as there are cores (admin/turns.py).
- SIGUSR2 renews the children one after another. Where a program says so, its successor answers before it is
  told to stop; a successor that does not start ends the renewal, and what runs goes on.

It must not know HTTP, the ledger, or which programs there are. Standard library only: it stays small.
"""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from admin.child import Child, Program, StartFailed, first_of
from admin.turns import Turns, cores

START_SECONDS_MAX = 60.0
"""A child that has not said `ready` by then will not: imports take two seconds on a slow disk."""
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
RELOAD_SIGNAL = signal.SIGUSR2


class ReloadRefused(Exception):
    """The children cannot be renewed as things are; the message says why."""


class Supervisor:
    """Runs programs until it is told to stop. `say` prints one line for the operator."""

    def __init__(
        self,
        programs: Sequence[Program],
        *,
        say: Callable[[str], None],
        renew: Callable[[], Sequence[Program]] | None = None,
        on_stop: Callable[[], None] = lambda: None,
        at_once: int | None = None,
    ) -> None:
        """`renew` gives the programs to be renewed as they are to be from now on, or raises ReloadRefused.
        `at_once`: how many start at a time, in place of one for each core.
        """
        self._programs = programs
        self._say = say
        self._renew = renew
        self._on_stop = on_stop
        self._at_once = at_once or cores()
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()
        self._asked = asyncio.Event()
        self._children: list[Child] = []
        self._life_read, self._life_write = os.pipe()

    def stop(self) -> None:
        """What a signal does: the first time stops, the second hurries."""
        if self._stop.is_set():
            self._hurry.set()
        self._stop.set()

    def reload(self) -> None:
        """What SIGUSR2 does: renews every child, once everything runs."""
        self._asked.set()

    async def run(self, on_ready: Callable[[], Awaitable[None]]) -> int:
        """Runs until stopped; calls `on_ready` once, when every program has answered. Returns the exit
        status.

        Raises StartFailed, after everything has been stopped, if a program never answered.
        """
        loop = asyncio.get_running_loop()
        for number in STOP_SIGNALS:
            loop.add_signal_handler(number, self.stop)
        loop.add_signal_handler(RELOAD_SIGNAL, self.reload)
        turns = Turns(self._at_once)
        self._children = [self._start(program, turns=turns) for program in self._programs]
        stopped = asyncio.create_task(self._stop.wait())
        try:
            ready = asyncio.create_task(self._all_ready())
            await first_of(ready, stopped, *self._tasks(), timeout=START_SECONDS_MAX)
            if not self._stop.is_set() and not ready.done():
                await self._fail_start()
            ready.cancel()
            if not self._stop.is_set():
                await on_ready()
                await self._stay(stopped)
            self._stop.set()
            self._on_stop()
            clean = await self._stop_in_order()
            for result in await asyncio.gather(*self._tasks(), return_exceptions=True):
                if isinstance(result, BaseException) and not isinstance(result, StartFailed):
                    raise result  # a start or a renewal that the stop has overtaken is no fault
        except BaseException:
            self._stop.set()
            self._hurry.set()
            await self._stop_in_order()
            raise
        finally:
            for number in (*STOP_SIGNALS, RELOAD_SIGNAL):
                loop.remove_signal_handler(number)
            for task in (stopped, *self._tasks()):
                task.cancel()
            os.close(self._life_write)
            os.close(self._life_read)
        return 0 if clean else 1

    def _start(self, program: Program, *, must_start: bool = True, turns: Turns | None = None) -> Child:
        return Child(
            program,
            life_fd=self._life_read,
            hurry=self._hurry,
            say=self._say,
            must_start=must_start,
            turns=turns,
        )

    def _tasks(self) -> list[asyncio.Task[None]]:
        return [child.task for child in self._children]

    async def _all_ready(self) -> None:
        for child in self._children:
            await child.ready.wait()

    async def _fail_start(self) -> None:
        """Stops what runs and raises the reason: a child's own, or the silence of those not ready."""
        silent = sorted(child.program.name for child in self._children if not child.ready.is_set())
        self._stop.set()
        self._hurry.set()
        await self._stop_in_order()
        for result in await asyncio.gather(*self._tasks(), return_exceptions=True):
            if isinstance(result, BaseException):
                raise result
        raise StartFailed(f"{', '.join(silent)}: no answer within {START_SECONDS_MAX:.0f} seconds")

    async def _stay(self, stopped: "asyncio.Task[object]") -> None:
        """Until the wish to stop, or until a child cannot be kept."""
        while not stopped.done() and not any(task.done() for task in self._tasks()):
            asked = asyncio.create_task(self._asked.wait())
            await first_of(stopped, asked, *self._tasks())
            asked.cancel()
            if asked.done() and not stopped.done():
                self._asked.clear()
                renewal = asyncio.create_task(self._renew_all())
                await first_of(stopped, renewal)
                renewal.cancel()  # what it has begun is in _children, and is stopped with all others
                with suppress(asyncio.CancelledError):
                    await renewal

    async def _renew_all(self) -> None:
        try:
            if self._renew is None:
                raise ReloadRefused("these programs are never renewed")
            programs = {program.name: program for program in self._renew()}
        except ReloadRefused as fault:
            self._say(f"not reloaded, everything goes on as before: {fault}")
            return
        for old in list(self._children):
            program = programs.get(old.program.name)
            if program is None:
                continue
            if not program.overlaps:
                await self._renew_behind(old, program)
            elif not await self._renew_ahead(old, program):
                self._say("not reloaded: what has not been renewed goes on as before")
                return
        self._say("reloaded")

    async def _renew_ahead(self, old: Child, program: Program) -> bool:
        """The new one answers, then the old one ends. False where the new one does not start."""
        new = self._start(program)
        self._children.append(new)
        ready = asyncio.create_task(new.ready.wait())
        await first_of(ready, new.task, timeout=START_SECONDS_MAX)
        ready.cancel()
        is_ready = new.ready.is_set()
        if not is_ready:
            self._say(f"{program.name}: the new one did not start")
        gone = old if is_ready else new
        await gone.end()
        await asyncio.gather(gone.task, return_exceptions=True)
        self._children.remove(gone)
        return is_ready

    async def _renew_behind(self, old: Child, program: Program) -> None:
        """The old one ends, then the new one starts, and is started again until it does."""
        await old.end()
        await old.task
        self._children[self._children.index(old)] = new = self._start(program, must_start=False)
        ready = asyncio.create_task(new.ready.wait())
        await first_of(ready, timeout=START_SECONDS_MAX)
        ready.cancel()

    async def _stop_in_order(self) -> bool:
        """Stops every stage, the lowest first. False if a process had to be killed without having been
        hurried.
        """
        clean = True
        for stage in sorted({child.program.stage for child in self._children}):
            children = [child for child in self._children if child.program.stage == stage]
            clean &= all(await asyncio.gather(*(child.end() for child in children)))
        return clean
