"""What a process tree costs, read from /proc: CPU time, memory; and the cores it may use. Linux only.

Rules: a tree's CPU time is user and system time of every live process in it, and of the children each has
reaped, so that short-lived helpers count. The kernel keeps it to 10 ms: phases are long enough for that. Must
not know what the processes do.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PRIORITY = -15
"""Ahead of everybody's ordinary work; only the kernel's own threads are further ahead."""


@dataclass(frozen=True, slots=True)
class Cores:
    """Which core the subject may use, and which the load and the engine; `shared` when the machine has only
    one.
    """

    subject: int
    engine: int
    load: int

    @property
    def shared(self) -> bool:
        return self.subject == self.load


def choose_cores() -> Cores:
    """The subject gets the first core to itself; engine and load share another, or have one each where there
    are more.
    """
    allowed = sorted(os.sched_getaffinity(0))
    return Cores(subject=allowed[0], engine=allowed[min(1, len(allowed) - 1)], load=allowed[-1])


def pin(core: int) -> None:
    """Binds this process to one core."""
    os.sched_setaffinity(0, {core})


@contextmanager
def pinning_undone() -> Iterator[None]:
    """However this process is pinned inside, it comes back to the cores that it had."""
    before = os.sched_getaffinity(0)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def priority() -> Iterator[bool]:
    """Puts this process, and what it starts inside, ahead of other work on the machine; yields False if not
    allowed.
    """
    try:
        os.setpriority(os.PRIO_PROCESS, 0, _PRIORITY)
    except PermissionError:
        yield False
        return
    before = _session_niceness(os.getpid())
    prefer_sessions((os.getpid(),))
    try:
        yield True
    finally:
        os.setpriority(os.PRIO_PROCESS, 0, 0)
        if before is not None:
            _session_file(os.getpid()).write_text(before)


def prefer_sessions(pids: tuple[int, ...]) -> None:
    """Gives the sessions of `pids` this process's niceness.

    Where the kernel groups by session, niceness counts within a session only, and some servers open their
    own.
    """
    for pid in pids:
        if _session_niceness(pid) is not None:
            with suppress(OSError):
                _session_file(pid).write_text(str(os.getpriority(os.PRIO_PROCESS, 0)))


def _session_file(pid: int) -> Path:
    return Path(f"/proc/{pid}/autogroup")


def _session_niceness(pid: int) -> str | None:
    try:
        return _session_file(pid).read_text().split()[-1]
    except (OSError, IndexError):
        return None


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """What is started inside runs on `core`, as do its children; this process itself comes back to where it
    was.
    """
    with _on({core}):
        yield


@contextmanager
def on_all_cores() -> Iterator[None]:
    """The same, on any core: for what is measured as its user has it."""
    with _on(set(range(os.cpu_count() or 1))):
        yield


@contextmanager
def _on(cores: set[int]) -> Iterator[None]:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def tree(root_pid: int) -> tuple[int, ...]:
    """The live processes under and including `root_pid`."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = _stat_fields(stat)
        except (FileNotFoundError, ProcessLookupError):
            continue
        children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found, left = [], [root_pid]
    while left:
        pid = left.pop()
        found.append(pid)
        left.extend(children.get(pid, []))
    return tuple(found)


def cpu_s(pids: tuple[int, ...]) -> float:
    """CPU seconds of the live ones of `pids`, with those of the children they have reaped."""
    ticks = 0
    for pid in pids:
        try:
            fields = _stat_fields(Path(f"/proc/{pid}/stat"))
        except (FileNotFoundError, ProcessLookupError):
            continue
        ticks += sum(map(int, fields[11:15]))
    return ticks / _TICKS_PER_S


def memory_bytes(pids: tuple[int, ...]) -> int:
    """The tree's memory, each shared page divided among those who share it (PSS)."""
    kib = 0
    for pid in pids:
        try:
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        kib += next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
    return kib * 1024


def core_busy_s(core: int, *, niced: bool = True) -> float:
    """Seconds that `core` has spent on anything at all, other machines' share (steal) included; without what
    is `niced`, which has only what is left.
    """
    for line in Path("/proc/stat").read_text().splitlines():
        name, *fields = line.split()
        if name == f"cpu{core}":
            user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, fields[:8])
            return (user + nice * niced + system + irq + softirq + steal) / _TICKS_PER_S
    return 0.0


def _stat_fields(stat: Path) -> list[str]:
    """The fields of a /proc stat file after the command's name (which may hold spaces): [0] is the state, [1]
    the parent.
    """
    return stat.read_text().rpartition(")")[2].split()
