"""What all recipes have in common: where a peer is installed, and how one starts, is awaited and ends.

Must not know any peer.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from bench.subjects.launch import accepts, free_port
from bench.subjects.launched import Launched

INSTALLED = Path(__file__).resolve().parents[2] / ".bench-peers"
RECIPES = Path(__file__).resolve().parent


class Peer(Launched):
    """A recipe: subclasses say what is different. `files` are written into the run's own folder. None of them
    keeps a ledger in the configuration that is measured.
    """

    name: str
    does: str
    elsewhere: str  # how to get it where this recipe does not work
    program: str  # within its installed folder; what is missing when it is not installed
    starts_within_s = 60.0

    def __init__(self, engine_url: str, folder: Path, core: int) -> None:
        super().__init__(engine_url, folder, core)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"

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

    def start(self) -> None:
        """Returns once it accepts."""
        for name, text in self.files().items():
            (self.folder / name).write_text(text)
        log = self.folder / f"{self.name}.log"
        self._launch(
            self.command(),
            lambda: accepts(self.port),
            log=log,
            within_s=self.starts_within_s,
            environ=self.environ(),
        )


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
