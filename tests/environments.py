"""Virtual environments that tests need beside their own, made once and kept in the user's cache folder.

Owns `${XDG_CACHE_HOME:-~/.cache}/metergate/NAME-pyX.Y`. Knows nothing of what goes into them.

Rules: plain pip, with whatever indexes pip is configured for. A folder counts only once its `complete` mark
is there: a half-made one is removed and made again. A lock file beside it makes a second maker wait for the
first.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path


def say(text: str) -> None:
    print(f"metergate tests: {text}", file=sys.stderr, flush=True)


def cache_dir() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "metergate"


def output(*command: str | Path) -> str:
    """Standard output of a command that has to succeed; its progress goes to our standard error."""
    done = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout


class Environment:
    """A virtual environment: its interpreter, and pip in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bin = folder / "bin"
        self.python = self.bin / "python"

    def install(self, *arguments: str) -> None:
        done = self._pip_install(*arguments)
        if done.returncode:
            raise SystemExit(f"pip install {' '.join(arguments)} failed\n{done.stderr}")

    def can_install(self, requirement: str) -> bool:
        """Install `requirement`; whether an index of this machine has it."""
        done = self._pip_install(requirement)
        if done.returncode and "No matching distribution" not in done.stderr:
            raise SystemExit(f"pip install {requirement} failed\n{done.stderr}")
        return done.returncode == 0

    def _pip_install(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """What pip says is kept for a failure: it complains of all that is left out on purpose."""
        pip = (self.python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *arguments)
        return subprocess.run([str(part) for part in pip], check=False, capture_output=True, text=True)


def cached(name: str, fill: Callable[[Environment], None]) -> Environment:
    """The environment `name` of this Python's version; `fill` installs into it at the first use."""
    folder = cache_dir() / f"{name}-py{sys.version_info.major}.{sys.version_info.minor}"
    complete = folder / "complete"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(folder.name + ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"another run is making {folder}: waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        if complete.exists():
            return Environment(folder)
        if folder.exists():
            say(f"{folder} is half-made: starting over")
            shutil.rmtree(folder)
        started = time.monotonic()
        say(f"making {folder}")
        output(sys.executable, "-m", "venv", folder)
        fill(Environment(folder))
        complete.touch()
        say(f"made {folder} in {time.monotonic() - started:.0f} s")
    return Environment(folder)
