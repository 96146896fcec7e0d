"""What all recipes have in common: where a peer is installed, and how one starts, is awaited and ends.

Must not know any peer.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from bench.figures import Recorded
from bench.subjects.launch import accepts, await_up, end, free_port, launch

INSTALLED = Path(__file__).resolve().parents[2] / ".bench-peers"
RECIPES = Path(__file__).resolve().parent
KEY = "sk-mg-" + "0" * 49


class Peer:
    """A recipe: subclasses say what is different. `files` are written into the run's own folder."""

    name: str
    does: str
    elsewhere: str  # how to get it where this recipe does not work
    version: str
    program: str  # within its installed folder; what is missing when it is not installed
    usage_event = True
    starts_late_s = 0.0
    key = KEY
    headers: Mapping[str, str] = {}
    database_pid = None
    starts_within_s = 60.0

    def __init__(self, engine_url: str, folder: Path, core: int) -> None:
        self.engine_url = engine_url
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._core = core
        self._process: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        """What starts it."""
        raise NotImplementedError

    def environ(self) -> dict[str, str]:
        """What its environment holds beside ours."""
        return {}

    def files(self) -> dict[str, str]:
        """Its configuration files, by name."""
        return {}

    @classmethod
    def install(cls) -> None:
        """Installs it into `cls.home()`; raises CalledProcessError or FileNotFoundError."""
        raise NotImplementedError

    @classmethod
    def home(cls) -> Path:
        """Where it is installed."""
        return INSTALLED / cls.name

    @classmethod
    def missing(cls) -> str | None:
        """Why it cannot be measured here."""
        if (cls.home() / cls.program).exists():
            return None
        return f"{cls.name} is not installed, and left out (make bench-peers)"

    @property
    def pid(self) -> int:
        """The root of its process tree."""
        assert self._process
        return self._process.pid

    def start(self) -> None:
        """Returns once it accepts."""
        for name, text in self.files().items():
            (self.folder / name).write_text(text)
        log = self.folder / f"{self.name}.log"
        self._process = launch(self.command(), core=self._core, log=log, environ=self.environ())
        await_up(self._process, lambda: accepts(self.port), log=log, within_s=self.starts_within_s)

    def recorded(self) -> Recorded | None:
        """None of them keeps a ledger in the configuration that is measured."""
        return None

    def stop(self) -> None:
        """Ends its whole tree."""
        if self._process:
            end(self._process)


def install_from_pypi(home: Path, requirements: Path) -> None:
    """A virtual environment of its own, with exactly what `requirements` pins."""
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(home)], check=True)
    pip = [str(home / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
    subprocess.run([*pip, "--no-deps", "-r", str(requirements)], check=True)


def install_from_npm(home: Path, lock: Path) -> None:
    """A folder with exactly what the package-lock.json beside `lock`'s package.json pins; runs no scripts."""
    npm = shutil.which("npm")
    if npm is None:
        raise FileNotFoundError("npm is not installed (apt install nodejs npm)")
    home.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "package-lock.json"):
        shutil.copy(lock / name, home / name)
    quietly = ["--no-audit", "--no-fund", "--ignore-scripts", "--silent"]
    subprocess.run([npm, "ci", *quietly], check=True, cwd=home, env={**os.environ})
