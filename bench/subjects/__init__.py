"""Who is measured: what every subject has in common; bench/roster.py is the table of them all.

Rules: a subject starts with its own generated configuration in a folder it is given, pinned to the core it is
given, and leaves nothing behind. A subject that is not installed says so instead of failing. Must not know
how it is measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from bench.figures import Recorded


class Subject(Protocol):
    """A proxy in front of the benchmark's engine."""

    name: str
    does: str  # of keys, limits and metering, in a few words
    usage_event: bool  # whether a client that did not ask for usage is sent the usage-only event
    starts_late_s: float  # until when after it answers it may begin what it puts off at its start
    version: str
    url: str
    key: str
    headers: Mapping[str, str]  # what a request needs beside the key

    def __init__(self, engine_url: str, folder: Path, core: int) -> None:
        """Not started yet; `folder` is empty and its own, `core` is the one it may use."""

    @staticmethod
    def missing() -> str | None:
        """Why it cannot be measured on this machine; None if it can."""

    @property
    def pid(self) -> int:
        """The root of its process tree."""

    @property
    def database_pid(self) -> int | None:
        """The root of its database server's tree, which counts apart; None without one."""

    def start(self) -> None:
        """Returns once it answers; raises `SubjectFailed` if it does not come up."""

    def recorded(self) -> Recorded | None:
        """Waits until every call it answered is in its ledger; what is there. None if it keeps none."""

    def stop(self) -> None:
        """Ends its whole tree; harmless if it never started."""
