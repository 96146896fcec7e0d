"""Who is measured: one module a subject, each a class with the protocol below, and the table of them all.

Rules: a subject starts with its own generated configuration in a folder it is given, pinned to the core it is
given, and leaves nothing behind. A subject that is not installed says so instead of failing. Must not know
how it is measured.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from bench.subjects.metergate import Metergate
from bench.subjects.nginx import Nginx


class Subject(Protocol):
    """A proxy in front of the benchmark's engine."""

    name: str
    usage_event: bool  # whether a client that did not ask for usage is sent the usage-only event
    version: str
    url: str
    key: str
    pid: int  # the root of its process tree

    def __init__(self, engine_url: str, folder: Path, core: int) -> None:
        """Not started yet; `folder` is empty and its own, `core` is the one it may use."""

    @staticmethod
    def missing() -> str | None:
        """Why it cannot be measured on this machine; None if it can."""

    def start(self) -> None:
        """Returns once it answers; raises `SubjectFailed` if it does not come up."""

    def recorded_calls(self) -> int | None:
        """Waits until every call it answered is in its ledger; how many are there. None if it keeps none."""

    def stop(self) -> None:
        """Ends its whole tree; harmless if it never started."""


SUBJECTS: dict[str, type[Subject]] = {"nginx": Nginx, "metergate": Metergate}
"""In the order in which rounds run them; the first is what ratios are taken to."""
BASELINE = "nginx"
