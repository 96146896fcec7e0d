"""The processes of a data plane, started as the supervisor does: with a pipe on which each says `ready`.

Owns starting, awaiting, stopping and killing one of them. Must not know what it does.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

ROOT = Path(__file__).resolve().parents[1]
PATIENCE_S = 30.0
_START_S = 120.0
"""A worker is up within two seconds, where it has a core to itself."""

T = TypeVar("T")


def now_us() -> int:
    """Microseconds since the epoch."""
    return time.time_ns() // 1000


def wait_for(look: Callable[[], T | None], what: str, *, patience_s: float = PATIENCE_S) -> T:
    """Looks until there is something; raises AssertionError after `patience_s`."""
    until = time.monotonic() + patience_s
    while time.monotonic() < until:
        found = look()
        if found is not None:
            return found
        time.sleep(0.01)
    raise AssertionError(f"waited {patience_s} s in vain for {what}")


def outside() -> dict[str, str]:
    """This process's environment without any setting of metergate's, and with this tree to import from."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("METERGATE_")}
    return {**own, "PYTHONPATH": str(ROOT)}


def start_load(module: str, plan: bytes, words: Path, answer: Path) -> subprocess.Popen[bytes]:
    """`python -m module` with its plan on standard input: what it answers goes to one file, what it says to
    another.
    """
    with words.open("ab") as said, answer.open("wb") as answered:
        process = subprocess.Popen(
            [sys.executable, "-m", module],
            stdin=subprocess.PIPE,
            stdout=answered,
            stderr=said,
            env=outside(),
            cwd=ROOT,
        )
    assert process.stdin
    process.stdin.write(plan)
    process.stdin.close()
    return process


class Process:
    """One process: `python -m module arguments`. `fd` is handed on to it; what it says goes to `words`."""

    def __init__(
        self, module: str, *arguments: str, fd: int | None, env: dict[str, str], words: Path
    ) -> None:
        ready, ready_child = os.pipe()
        with words.open("ab") as said:
            self.popen = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                pass_fds=(ready_child, *(() if fd is None else (fd,))),
                env={**env, "METERGATE_READY_FD": str(ready_child)},
                stdout=said,
                stderr=said,
            )
        os.close(ready_child)
        self._ready = ready
        self.words = words

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.popen.pid

    def ready(self) -> None:
        """Waits until it answers. Raises AssertionError with its words if it does not."""
        said = os.read(self._ready, 16) if select.select([self._ready], [], [], _START_S)[0] else b""
        os.close(self._ready)
        assert said == b"ready\n", f"did not start: {self.words.read_text()}"

    def stop(self) -> int:
        """Asks it to stop, and waits; its exit status."""
        if self.popen.poll() is None:
            self.popen.send_signal(signal.SIGTERM)
        return self.popen.wait(PATIENCE_S)

    def kill(self) -> None:
        """kill -9, and waits."""
        if self.popen.poll() is None:
            self.popen.kill()
        self.popen.wait()
