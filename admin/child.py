"""One child of the supervisor: run, started again when it dies, told to end once.

A child says that it answers by writing to METERGATE_READY_FD, and it stops by itself when METERGATE_LIFE_FD
comes to its end: that pipe's other end is held by the supervisor alone. A child that dies is started again,
after a delay that grows to BACKOFF_SECONDS_MAX; one that has to start and dies before it ever answered is a
StartFailed instead: its own message says why.

It must not know what the program does. Standard library only.
"""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from admin.turns import Turns

STEADY_SECONDS = 30.0
"""A child that lived this long starts its backoff anew."""
BACKOFF_SECONDS_MAX = 30.0
HURRY_SECONDS = 3.0
"""After the second signal: what a child gets to write down its last records before it is killed."""


@dataclass(frozen=True, slots=True)
class Program:
    """One process to run: `python -P -m module arguments`."""

    name: str
    module: str
    arguments: tuple[str, ...] = ()
    fds: tuple[int, ...] = ()
    """File descriptors it inherits, under the same numbers."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Whole, as the child sees it, but for the two pipes."""
    stage: int = 0
    """Stages stop one after another, the lowest first; they start together."""
    grace_seconds: float = 10.0
    """How long it may take to stop, before it is killed."""
    overlaps: bool = False
    """At a reload its successor answers before it is told to stop; else it has ended before."""


class StartFailed(Exception):
    """A process ended, or stayed silent, before it ever answered."""


class Child:
    """A program that is kept running from here on. `ready` is set once it has answered."""

    def __init__(
        self,
        program: Program,
        *,
        life_fd: int,
        hurry: asyncio.Event,
        say: Callable[[str], None],
        must_start: bool = True,
        turns: Turns | None = None,
    ) -> None:
        """`hurry`: set when nobody waits for a grace any more. `say` prints one line for the operator. With
        `turns` it starts when it is its turn, else at once.
        """
        self.program = program
        self.ready = asyncio.Event()
        self._life_fd = life_fd
        self._hurry = hurry
        self._say = say
        self._must_start = must_start
        self._turns = turns
        self._ending = asyncio.Event()
        self._told: signal.Signals | None = None
        self._process: asyncio.subprocess.Process | None = None
        self.task = asyncio.create_task(self._keep())
        """Ends when the child has been ended; raises StartFailed."""

    async def end(self) -> bool:
        """Tells it to stop, once, and waits until it runs no more nor is being started; called again, goes on
        waiting. False if it had to be killed without having been hurried.
        """
        self._ending.set()
        if self._told is None:
            self._tell(signal.SIGTERM)
        hurried = asyncio.create_task(self._hurry.wait())
        try:
            await first_of(self.task, hurried, timeout=self.program.grace_seconds)
            if not self.task.done():
                self._tell(signal.SIGTERM)
                await first_of(self.task, timeout=HURRY_SECONDS)
            if self.task.done():
                return True
            self._tell(signal.SIGKILL)
            await first_of(self.task)
            self._say(f"{self.program.name} did not stop in time and was killed")
            return self._hurry.is_set()
        finally:
            hurried.cancel()

    def _tell(self, number: signal.Signals) -> None:
        """Now, or as soon as there is a process."""
        self._told = number
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)

    async def _keep(self) -> None:
        if self._turns is not None:
            turn = asyncio.create_task(self._turns.take(self.ready))
            ending = asyncio.create_task(self._ending.wait())
            await first_of(turn, ending)
            turn.cancel()
            ending.cancel()
        failures = 0
        while not self._ending.is_set():
            started_at = time.monotonic()
            status = await self._run_once()
            if self._ending.is_set():
                return
            name = self.program.name
            if self._must_start and not self.ready.is_set():
                raise StartFailed(f"{name} did not start ({describe_status(status)})")
            failures = 0 if time.monotonic() - started_at >= STEADY_SECONDS else failures + 1
            delay = backoff_seconds(failures)
            when = f"in {delay:g} s" if delay else "now"
            self._say(f"{name} ended ({describe_status(status)}); starting it again {when}")
            with suppress(TimeoutError):
                await asyncio.wait_for(self._ending.wait(), timeout=delay)

    async def _run_once(self) -> int:
        program = self.program
        ready_read, ready_write = os.pipe()
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",  # a folder named `proxy` or `admin` where the operator stands is none of ours
                "-m",
                program.module,
                *program.arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,  # stdout carries the supervisor's own words only
                env={
                    **program.environment,
                    "METERGATE_READY_FD": str(ready_write),
                    "METERGATE_LIFE_FD": str(self._life_fd),
                },
                pass_fds=(*program.fds, ready_write, self._life_fd),
                start_new_session=True,
            )
        finally:
            os.close(ready_write)
        self._process = process
        if self._told is not None:  # while it was being started
            self._tell(self._told)
        loop = asyncio.get_running_loop()
        loop.add_reader(ready_read, self._read_ready, ready_read)
        try:
            return await process.wait()
        finally:
            self._process = None
            loop.remove_reader(ready_read)
            os.close(ready_read)

    def _read_ready(self, fd: int) -> None:
        if os.read(fd, 64):
            self.ready.set()
        else:  # the child closed it, or died; its exit status tells
            asyncio.get_running_loop().remove_reader(fd)


def backoff_seconds(failures: int) -> float:
    """How long to wait before the next start: none after the first death, then double from half a second."""
    if failures <= 1:
        return 0.0
    return min(BACKOFF_SECONDS_MAX, 0.5 * 2.0 ** min(failures - 2, 10))


def describe_status(status: int) -> str:
    """An exit status in an operator's words: `exit status 1`, `killed by SIGKILL`."""
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"killed by signal {-status}"


async def first_of(*tasks: "asyncio.Task[object]", timeout: float | None = None) -> None:  # noqa: ASYNC109
    """Wait until one of them is done, or the time is over."""
    await asyncio.wait(tasks, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
