"""The command line as a user runs it: a process of its own, in a folder of its own."""

import gc
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from admin.cli import main
from tests.integration.admin.control_planes import ControlPlane, control_plane

ROOT = Path(__file__).parents[3]
METERGATE = (sys.executable, "-P", "-m", "admin")
FREE_PORTS = ("--port", "0", "--admin-port", "0", "--metrics-port", "0")


def environment(**more: str) -> dict[str, str]:
    """This process's, without a developer's settings of metergate, and with the checkout to import from."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("METERGATE_")}
    return {**own, "PYTHONPATH": str(ROOT), "COLUMNS": "200", "NO_COLOR": "1", **more}


def run(*arguments: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Runs one command to its end."""
    return subprocess.run(
        [*METERGATE, *arguments],
        cwd=cwd, env=environment(**env), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


@dataclass(frozen=True)
class Done:
    """What a command did."""

    returncode: int
    stdout: str
    stderr: str


class Cli:
    """Runs commands in this process, through the real entry: a process for each would cost a second."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        """The working directory is the caller's to choose."""
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def run(self, *arguments: str, **env: str) -> Done:
        """Runs one command to its end."""
        self._capsys.readouterr()
        with self._monkeypatch.context() as patch, pytest.raises(SystemExit) as end:
            for name, value in env.items():
                patch.setenv(name, value)
            patch.setattr(sys, "argv", ["metergate", *arguments])
            main()
        gc.unfreeze()  # a process has one command, this one goes on
        said = self._capsys.readouterr()
        assert isinstance(end.value.code, int)
        return Done(end.value.code, said.out, said.err)

    def __call__(self, *arguments: str) -> Any:
        """Runs a command with --json that must succeed; the document."""
        done = self.run(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture
def cli(
    tmp_path: Path, sqlite_template: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Cli:
    """The commands, in a folder with an empty ledger."""
    (tmp_path / "data").mkdir()
    shutil.copy(sqlite_template, tmp_path / "data" / "metergate.db")
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith("METERGATE_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "200")
    return Cli(monkeypatch, capsys)


@pytest.fixture
async def plane(database_url: str, tmp_path: Path) -> AsyncIterator[ControlPlane]:
    """A control plane, on each kind of database in turn."""
    async with control_plane(database_url, tmp_path) as running:
        yield running


class Up:
    """A `metergate up` under way, what it says line by line."""

    def __init__(self, folder: Path, *arguments: str, **env: str) -> None:
        """Starts it, and waits until it is ready or has ended."""
        self.folder = folder
        self.process = subprocess.Popen(
            [*METERGATE, "up", *FREE_PORTS, *arguments],
            cwd=folder, env=environment(**env), text=True, start_new_session=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        self.said: list[str] = []
        self.complained: list[str] = []
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said.append(line.rstrip("\n"))
            if line == "ready\n":
                break

    def _listen(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.complained.append(line.rstrip("\n"))

    def heard(self, words: str) -> list[str]:
        """The lines on stderr that hold these words, once there is one (it is another pipe than stdout)."""
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            found = [line for line in self.complained if words in line]
            if found:
                return found
            time.sleep(0.01)
        return []

    @property
    def first_run(self) -> dict[str, str]:
        """first-run.json."""
        content: dict[str, str] = json.loads((self.folder / "data" / "first-run.json").read_bytes())
        return content

    def children(self) -> dict[str, int]:
        """The processes it runs, by module."""
        listing = subprocess.run(
            ["ps", "-o", "pid=,args=", "--ppid", str(self.process.pid)],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        found = {}
        for line in listing.splitlines():
            words = line.split()
            if "-m" in words:
                found[words[words.index("-m") + 1]] = int(words[0])
        return found

    def end(self, number: int = signal.SIGTERM) -> int:
        """Sends a signal to the whole group, as a terminal does, and waits; the exit status."""
        assert self.process.stderr is not None
        if self.process.stderr.closed:
            return self.process.wait(timeout=60)
        if self.process.poll() is None:
            os.killpg(self.process.pid, number)
        status = self.process.wait(timeout=60)
        self._listener.join(timeout=10)
        for pipe in (self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()
        return status


@pytest.fixture
def start() -> Iterator[Callable[..., Up]]:
    """Starts `metergate up`; kills whatever a failing test leaves of it."""
    started: list[Up] = []

    def begin(folder: Path, *arguments: str, **env: str) -> Up:
        started.append(Up(folder, *arguments, **env))
        return started[-1]

    yield begin
    for one in started:
        one.end(signal.SIGKILL)


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """One first start with the simulator, shared by the tests that leave it as it was."""
    running = Up(tmp_path_factory.mktemp("up"))
    assert running.said[-1:] == ["ready"], running.complained
    yield running
    assert running.end() == 0
