"""The supervisor: starts a handful of processes, keeps them running, and ends them in order.

Owns the life of the children and nothing of what they do. Rules:

- A child runs in a session of its own, so that Ctrl-C in a terminal reaches the supervisor alone and a
  child is told to stop once.
- A child says that it answers by writing to METERGATE_READY_FD, and it stops by itself when
  METERGATE_LIFE_FD comes to its end: that pipe's other end is held by the supervisor alone, so it ends even
  with kill -9.
- A child that dies is started again, after a delay that grows to BACKOFF_SECONDS_MAX. One that dies before
  everything has been ready once ends the start instead: its own message says why.
- The first SIGTERM, SIGINT or SIGHUP stops the children stage by stage and lets them finish; the second
  hurries.

It must not know HTTP, the ledger, or which programs there are. Standard library only: it stays small.
"""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

START_SECONDS_MAX = 60.0
"""A child that has not said `ready` by then will not: imports take two seconds on a slow disk."""
STEADY_SECONDS = 30.0
"""A child that lived this long starts its backoff anew."""
BACKOFF_SECONDS_MAX = 30.0
HURRY_SECONDS = 3.0
"""After the second signal: what a child gets to write down its last records before it is killed."""
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


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


class StartFailed(Exception):
    """A process ended, or stayed silent, before it ever answered."""


class Supervisor:
    """Runs programs until it is told to stop. `say` prints one line for the operator."""

    def __init__(self, programs: Sequence[Program], *, say: Callable[[str], None]) -> None:
        self._programs = programs
        self._say = say
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()
        self._running: dict[str, asyncio.subprocess.Process] = {}
        self._unready = {program.name for program in programs}
        self._all_ready = asyncio.Event()
        self._life_read, self._life_write = os.pipe()

    def stop(self) -> None:
        """What a signal does: the first time stops, the second hurries."""
        if self._stop.is_set():
            self._hurry.set()
        self._stop.set()

    async def run(self, on_ready: Callable[[], Awaitable[None]]) -> int:
        """Runs until stopped; calls `on_ready` once, when every program has answered. Returns the exit
        status.

        Raises StartFailed, after everything has been stopped, if a program never answered.
        """
        loop = asyncio.get_running_loop()
        for number in STOP_SIGNALS:
            loop.add_signal_handler(number, self.stop)
        keepers = [asyncio.create_task(self._keep(program)) for program in self._programs]
        stopped = asyncio.create_task(self._stop.wait())
        try:
            ready = asyncio.create_task(self._all_ready.wait())
            await _first_of(ready, stopped, *keepers, timeout=START_SECONDS_MAX)
            if not self._stop.is_set() and not ready.done():
                await self._fail_start(keepers)
            ready.cancel()
            if not self._stop.is_set():
                await on_ready()
                await _first_of(stopped, *keepers)
            self._stop.set()
            clean = await self._stop_in_order()
            await asyncio.gather(*keepers)
        except BaseException:
            self._stop.set()
            self._hurry.set()
            await self._stop_in_order()
            raise
        finally:
            for number in STOP_SIGNALS:
                loop.remove_signal_handler(number)
            for task in (stopped, *keepers):
                task.cancel()
            os.close(self._life_write)
            os.close(self._life_read)
        return 0 if clean else 1

    async def _fail_start(self, keepers: Sequence[asyncio.Task[None]]) -> None:
        """Stops what runs and raises the reason: a keeper's own, or the silence of those not ready."""
        self._stop.set()
        self._hurry.set()
        await self._stop_in_order()
        for result in await asyncio.gather(*keepers, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result
        silent = ", ".join(sorted(self._unready))
        raise StartFailed(f"{silent}: no answer within {START_SECONDS_MAX:.0f} seconds")

    async def _keep(self, program: Program) -> None:
        """Runs one program again and again, until the supervisor stops."""
        failures = 0
        while not self._stop.is_set():
            started_at = time.monotonic()
            status = await self._run_once(program)
            if self._stop.is_set():
                return
            if program.name in self._unready:
                raise StartFailed(f"{program.name} did not start ({describe_status(status)})")
            failures = 0 if time.monotonic() - started_at >= STEADY_SECONDS else failures + 1
            delay = backoff_seconds(failures)
            when = f"in {delay:g} s" if delay else "now"
            self._say(f"{program.name} ended ({describe_status(status)}); starting it again {when}")
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), timeout=delay)

    async def _run_once(self, program: Program) -> int:
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
                    "METERGATE_LIFE_FD": str(self._life_read),
                },
                pass_fds=(*program.fds, ready_write, self._life_read),
                start_new_session=True,
            )
        finally:
            os.close(ready_write)
        self._running[program.name] = process
        if self._stop.is_set():
            process.terminate()
        loop = asyncio.get_running_loop()
        loop.add_reader(ready_read, self._read_ready, program.name, ready_read)
        try:
            return await process.wait()
        finally:
            del self._running[program.name]
            loop.remove_reader(ready_read)
            os.close(ready_read)

    def _read_ready(self, name: str, fd: int) -> None:
        word = os.read(fd, 64)
        if word:
            self._unready.discard(name)
            if not self._unready:
                self._all_ready.set()
        else:  # the child closed it, or died; its exit status tells
            asyncio.get_running_loop().remove_reader(fd)

    async def _stop_in_order(self) -> bool:
        """Stops every stage, the lowest first. False if a process had to be killed without having been
        hurried.
        """
        clean = True
        for stage in sorted({program.stage for program in self._programs}):
            programs = [program for program in self._programs if program.stage == stage]
            clean &= all(await asyncio.gather(*(self._stop_one(program) for program in programs)))
        return clean

    async def _stop_one(self, program: Program) -> bool:
        process = self._running.get(program.name)
        if process is None:
            return True
        with suppress(ProcessLookupError):
            process.terminate()
        ended = asyncio.create_task(process.wait())
        hurried = asyncio.create_task(self._hurry.wait())
        try:
            await _first_of(ended, hurried, timeout=program.grace_seconds)
            if not ended.done():
                with suppress(ProcessLookupError):
                    process.terminate()
                await _first_of(ended, timeout=HURRY_SECONDS)
            if ended.done():
                return True
            with suppress(ProcessLookupError):
                process.kill()
            await ended
            self._say(f"{program.name} did not stop in time and was killed")
            return self._hurry.is_set()
        finally:
            hurried.cancel()


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


async def _first_of(*tasks: asyncio.Task[object], timeout: float | None = None) -> None:  # noqa: ASYNC109
    await asyncio.wait(tasks, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
