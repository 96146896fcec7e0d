"""Readings around a phase: what the subject's tree, the engine, and everybody else on the subject's core
used.

Rules: shares are of the time under load; the CPU time that figures are made of goes on to `end`, when a
subject's ledger has caught up. Must not know what the load is.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from bench.processes import core_busy_s, cpu_s, tree


@dataclass(frozen=True, slots=True)
class Reading:
    """One moment: CPU seconds so far, and the clock."""

    subject_s: float
    engine_s: float
    core_s: float
    at_s: float


class Meter:
    """Measures one phase: `begin`, load, `load_ended`, (settle,) `end`."""

    def __init__(self, subject_pid: int, engine_pid: int, subject_core: int) -> None:
        self._subject_pid = subject_pid
        self._engine_pid = engine_pid
        self._core = subject_core

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
    def core_share(self) -> float:
        """How much of its core the subject used under load; near 1, it was at its limit."""
        return (self._loaded.subject_s - self._begun.subject_s) / self._wall_s

    @property
    def engine_share(self) -> float:
        return (self._loaded.engine_s - self._begun.engine_s) / self._wall_s

    @property
    def others_share(self) -> float:
        """How much of the subject's core went to somebody else under load."""
        busy = (self._loaded.core_s - self._begun.core_s) / self._wall_s
        return max(0.0, busy - self.core_share)

    @property
    def _wall_s(self) -> float:
        return self._loaded.at_s - self._begun.at_s

    def _read(self) -> Reading:
        return Reading(
            cpu_s(tree(self._subject_pid)),
            cpu_s((self._engine_pid,)),
            core_busy_s(self._core),
            time.monotonic(),
        )
