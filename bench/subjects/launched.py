"""A subject that is one program, started and ended as `launch` does it: what most subjects have in common.

Rules: it keeps no ledger and no database unless it says so. Must not know which subject it is, nor how it is
measured.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

from bench.figures import Recorded
from bench.subjects.launch import await_up, end, launch

KEY = "sk-mg-" + "0" * 49
"""For who checks no keys of ours: as long as one, so that all have the same bytes to read."""


class Launched:
    """Subclasses say what it is and `start` it with `_launch`; `folder` is the run's own."""

    usage_event = True
    starts_late_s = 0.0
    headers: Mapping[str, str] = {}
    key = KEY
    version = ""
    url = ""

    def __init__(self, engine_url: str, folder: Path, core: int) -> None:
        self.engine_url = engine_url
        self.folder = folder
        self._core = core
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The root of its process tree."""
        assert self._process
        return self._process.pid

    @property
    def database_pid(self) -> int | None:
        """The root of its database server's tree."""
        return None

    def recorded(self) -> Recorded | None:
        """What is in its ledger."""
        return None

    def stop(self) -> None:
        """Ends its whole tree."""
        if self._process:
            end(self._process)

    def _launch(
        self,
        command: list[str],
        is_up: Callable[[], bool],
        *,
        log: Path,
        within_s: float,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        """Starts `command` and waits for it. Raises SubjectFailed."""
        self._process = launch(command, core=self._core, log=log, environ=environ)
        await_up(self._process, is_up, log=log, within_s=within_s)
