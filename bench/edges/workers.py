"""Two workers against one, on two cores: how much more they carry.

Where there are only two cores, load generator and engine need one of the workers' own, so their share is
taken out: what counts is calls a second for each core that metergate could have had. For one worker that is
its own core, while the load has the other; for two it is both, less what load and engine used of them. What
else the machine did on those cores is taken out of both. What a core idled is not: workers that wait for each
other, or share connections badly, show. Twice the one over the other is how much more two workers carry.

The whole tree counts, the poster too; each worker has a core of its own, everybody else both.

    python -m bench.edges workers
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.edges.calls import Calls
from bench.edges.lines import Line
from bench.engine_process import Engine
from bench.processes import choose_cores, core_busy_s, cpu_s, pin, tree
from bench.running import every_call_recorded, running
from bench.subjects.metergate import Metergate

ROUNDS: Final = 3
CONNECTIONS: Final = 64
DURATION_S: Final = 6.0
SPEEDUP_MIN: Final = 1.8


class _Two(Metergate):
    """The same with two workers."""

    name = "metergate, two workers"
    workers = 2


@dataclass(frozen=True, slots=True)
class Carried:
    """What one start carried. Shares are of one core: two of them are 2."""

    calls_per_s: float
    ours: float
    load: float
    others: float
    workers: tuple[float, ...]
    cores: int

    @property
    def per_core(self) -> float:
        """Calls a second for each core that was there for metergate."""
        load = self.load if self.cores > 1 else 0.0  # else it is on the other core
        return self.calls_per_s / (self.cores - load - self.others)


def measure(*, rounds: int = ROUNDS) -> list[Line]:
    """What each carries, what of the cores went where, and the speed-up."""
    cores = choose_cores()
    found: dict[int, list[Carried]] = {1: [], 2: []}
    everywhere = os.sched_getaffinity(0)
    for _ in range(rounds):
        for count, make in ((1, Metergate), (2, _Two)):
            both = sorted({cores.subject, cores.engine})[:count]
            pin(cores.load)
            engine = Engine(cores.engine)
            try:
                with running(make, engine, cores) as (subject, folder):
                    if count == 2:
                        _spread(subject.pid, engine.pid, both)
                    with every_call_recorded(subject, engine):
                        found[count].append(_carry(subject, engine, folder, both))
            finally:
                engine.stop()
                os.sched_setaffinity(0, everywhere)
    return _lines(found)


def _carry(subject: Metergate, engine: Engine, folder: Path, cores: list[int]) -> Carried:
    workers, calls = _workers(subject.pid), Calls(subject, folder, connections=CONNECTIONS)
    readings: tuple[Callable[[], float], ...] = (
        lambda: cpu_s(tree(subject.pid)),
        lambda: cpu_s((engine.pid,)) + _reaped_s(),
        lambda: sum(core_busy_s(core) for core in cores),
        *((lambda pid=pid: cpu_s((pid,))) for pid in workers),
    )
    calls.warm_up()
    before, began_s = [read() for read in readings], time.monotonic()
    driven = calls.drive(DURATION_S)
    wall_s = time.monotonic() - began_s
    ours, load, busy, *each = (
        (read() - value) / wall_s for read, value in zip(readings, before, strict=True)
    )
    known = ours + (load if len(cores) > 1 else 0.0)
    return Carried(driven.per_s, ours, load, max(0.0, busy - known), tuple(each), len(cores))


def _reaped_s() -> float:
    """CPU seconds of the load generators that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _workers(root_pid: int) -> list[int]:
    """The data plane's processes among a tree."""
    return [
        pid
        for pid in tree(root_pid)
        if b"proxy.worker" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    ]


def _spread(root_pid: int, engine_pid: int, cores: list[int]) -> None:
    """Each worker to a core of its own, everybody else, this process too, to both."""
    own = dict(zip(_workers(root_pid), cores, strict=True))
    for pid in (*tree(root_pid), engine_pid, os.getpid()):
        may = {own[pid]} if pid in own else set(cores)
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with suppress(ProcessLookupError):
                os.sched_setaffinity(int(thread.name), may)


def _lines(found: dict[int, list[Carried]]) -> list[Line]:
    one, two = found[1], found[2]
    speedup = tuple(2 * both.per_core / alone.per_core for alone, both in zip(one, two, strict=True))

    def line(
        name: str, title: str, each: list[Carried], of: Callable[[Carried], float], decimals: int = 2
    ) -> Line:
        return Line("workers", name, title, tuple(map(of, each)), decimals)

    return [
        line("one_per_s", "one worker: calls a second", one, lambda it: it.calls_per_s, 0),
        line(
            "two_per_s",
            "two workers, load and engine beside them: the same",
            two,
            lambda it: it.calls_per_s,
            0,
        ),
        line("one_ours", "one worker: cores that metergate used", one, lambda it: it.ours),
        line("two_ours", "two workers: the same", two, lambda it: it.ours),
        line("two_load", "two workers: cores that load and engine used", two, lambda it: it.load),
        line("two_others", "two workers: cores that others used", two, lambda it: it.others),
        line(
            "two_busier",
            "two workers: the busier one's share of both",
            two,
            lambda it: max(it.workers) / sum(it.workers),
        ),
        line(
            "one_per_core",
            "one worker: calls a second for a core that it could have",
            one,
            lambda it: it.per_core,
            0,
        ),
        line("two_per_core", "two workers: the same", two, lambda it: it.per_core, 0),
        Line("workers", "speedup", "two workers carry so many times one's", speedup, 2, at_least=SPEEDUP_MIN),
    ]
