"""Readings around a phase: what the subject's tree, its database server, the engine, and everybody else on
their cores used.

Rules: shares are of the time under load; the CPU time that figures are made of goes on to `end`, when a
subject's ledger has caught up. Must not know what the load is.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from bench.processes import Cores, core_busy_s, cpu_s, tree


@dataclass(frozen=True, slots=True)
class Reading:
    """One moment: CPU seconds so far, and the clock."""

    subject_s: float
    database_s: float
    engine_s: float
    core_s: float
    load_core_s: float
    at_s: float


@dataclass(frozen=True, slots=True)
class Pids:
    """Whose CPU time is read: the roots of the subject's and its database's trees, and the engine."""

    subject: int
    engine: int
    database: int | None = None


class Meter:
    """Measures one phase: `begin`, load, `load_ended`, (settle,) `end`."""

    def __init__(self, pids: Pids, cores: Cores) -> None:
        self._pids = pids
        self._cores = cores

    def begin(self) -> None:
        self._begun = self._loaded = self._ended = self._read()

    def load_ended(self) -> None:
        self._loaded = self._ended = self._read()

    def end(self) -> None:
        self._ended = self._read()

    @property
    def cpu_us(self) -> float:
        """The subject's CPU time from `begin` to `end`."""
        return (self._ended.subject_s - self._begun.subject_s) * 1e6

    @property
    def database_cpu_us(self) -> float | None:
        """The CPU time of its database server, which is not in its tree, from `begin` to `end`."""
        if self._pids.database is None:
            return None
        return (self._ended.database_s - self._begun.database_s) * 1e6

    @property
    def core_share(self) -> float:
        """How much of its core the subject used under load; near 1, it was at its limit."""
        return (self._loaded.subject_s - self._begun.subject_s) / self._wall_s

    @property
    def engine_share(self) -> float:
        return (self._loaded.engine_s - self._begun.engine_s) / self._wall_s

    @property
    def load_share(self) -> float:
        """How busy the core was that the load runs on, whoever else shares it."""
        return (self._loaded.load_core_s - self._begun.load_core_s) / self._wall_s

    @property
    def others_share(self) -> float:
        """How much of the subject's core went to somebody else under load."""
        busy = (self._loaded.core_s - self._begun.core_s) / self._wall_s
        return max(0.0, busy - self.core_share)

    @property
    def _wall_s(self) -> float:
        return self._loaded.at_s - self._begun.at_s

    def _read(self) -> Reading:
        pids = self._pids
        return Reading(
            cpu_s(tree(pids.subject)),
            cpu_s(tree(pids.database)) if pids.database else 0.0,
            cpu_s((pids.engine,)),
            core_busy_s(self._cores.subject),
            core_busy_s(self._cores.load, niced=False),
            time.monotonic(),
        )
