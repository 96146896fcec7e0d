"""Start engines and metergate as users do, as processes of their own, and end them.

Owns the command lines and the waiting. Rules: ports are the kernel's choice; the settings of this shell
(METERGATE_*) reach no process started here; what a process says goes to a file, kept for the tests to read.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).parents[2]
READY_S = 60.0
STOP_S = 30.0


@dataclass(frozen=True, slots=True)
class Engine:
    """An engine without metergate: one server for chat and completions, one (or the same) for embeddings."""

    kind: str
    chat_url: str
    embedding_url: str
    chat_model: str
    embedding_model: str

    @property
    def urls(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((self.chat_url, self.embedding_url)))

    def counted(self, counter: str) -> int:
        """A counter of the engine's own, over its servers: `prompt_tokens` or `generation_tokens`."""
        return sum(sum_of(f"vllm:{counter}_total", metrics_of(url)) for url in self.urls)


@dataclass(frozen=True, slots=True)
class Metergate:
    """A running metergate; the fields of its first-run.json, and where its data and its words are."""

    base_url: str
    api_key: str
    admin_key: str
    tenant_id: str
    project_id: str
    admin_url: str
    data_dir: Path
    output: Path

    def command(self, *arguments: str, status: int = 0) -> str:
        """What `metergate ARGUMENTS` prints, and that it ends with this status."""
        done = subprocess.run(
            [sys.executable, "-m", "admin", *arguments, "--data-dir", str(self.data_dir)],
            cwd=ROOT,
            env=clean_environment(),
            capture_output=True,
            text=True,
            timeout=READY_S,
            check=False,
        )
        assert done.returncode == status, f"metergate {' '.join(arguments)}: {done.stdout}{done.stderr}"
        return done.stdout

    def metrics(self) -> str:
        """The metrics page; its port is in the lines of the start."""
        lines = self.output.read_text().splitlines()
        url = next(line.split()[-1] for line in lines if line.strip().startswith("metrics "))
        return metrics_of(url.removesuffix("/metrics"))

    def rows(self) -> list[dict[str, str]]:
        """Every row of the ledger, as an operator exports them."""
        return list(csv.DictReader(io.StringIO(self.command("usage", "export", "--format", "csv"))))


def clean_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("METERGATE_")}


def metrics_of(url: str) -> str:
    with urllib.request.urlopen(f"{url}/metrics", timeout=30) as response:
        page: bytes = response.read()
        return page.decode()


def sum_of(name: str, page: str) -> int:
    """The sum of a counter over its labels."""
    lines = (line for line in page.splitlines() if line.startswith((f"{name}{{", f"{name} ")))
    return int(sum(float(line.rpartition(" ")[2]) for line in lines))


class Lines:
    """The lines a process prints, copied to a file as they come."""

    def __init__(self, stream: IO[bytes], file: Path) -> None:
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._stream, self._file = stream, file
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        with self._stream, self._file.open("ab") as copy:
            for line in self._stream:
                copy.write(line)
                copy.flush()
                self._lines.put(line.decode(errors="replace").rstrip("\n"))
        self._lines.put(None)

    def wait_for(self, start: str) -> str:
        """The first line that starts so. Fails when the process ends before, or says nothing for too long."""
        while (line := self._lines.get(timeout=READY_S)) is not None:
            if line.startswith(start):
                return line
        raise AssertionError(f"it ended before {start!r}:\n{self._file.read_text()}")


@contextlib.contextmanager
def process(arguments: list[str], output: Path, ready: str) -> Iterator[str]:
    """`python -m ARGUMENTS`, once it has printed a line that starts with `ready`: that line."""
    command = [sys.executable, "-m", *arguments]
    running = subprocess.Popen(
        command,
        cwd=ROOT,
        env=clean_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    assert running.stdout is not None
    try:
        yield Lines(running.stdout, output).wait_for(ready)
        assert running.poll() is None, f"it ended by itself ({running.returncode}):\n{output.read_text()}"
    finally:
        running.terminate()
        try:
            running.wait(STOP_S)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(running.pid, signal.SIGKILL)
            running.wait()


@contextlib.contextmanager
def simulator(folder: Path, *flags: str) -> Iterator[Engine]:
    """A simulated engine that serves both kinds of model, as fast as it can."""
    arguments = ["proxy.simulator", "--port", "0", "--model", "simulated", "--model", "simulated-embedding"]
    arguments += ["--tokens-per-second", "0", "--enable-prompt-tokens-details", *flags]
    said = "simulated engine listening on "
    with process(arguments, folder / "simulator.log", said) as line:
        url = line.removeprefix(said).split()[0]
        yield Engine("simulator", url, url, "simulated", "simulated-embedding")


@contextlib.contextmanager
def metergate(engine_urls: tuple[str, ...], folder: Path, *flags: str) -> Iterator[Metergate]:
    """`metergate up` before these engines, with a data folder of its own."""
    data_dir, output = folder / "data", folder / "metergate.log"
    arguments = [
        "admin",
        "up",
        "--port",
        "0",
        "--admin-port",
        "0",
        "--metrics-port",
        "0",
        "--data-dir",
        str(data_dir),
        *flags,
    ]
    for url in engine_urls:
        arguments += ["--engine", url]
    with process(arguments, output, "ready"):
        first_run: dict[str, Any] = json.loads((data_dir / "first-run.json").read_text())
        names = ("base_url", "api_key", "admin_key", "tenant_id", "project_id", "admin_url")
        yield Metergate(*(first_run[name] for name in names), data_dir=data_dir, output=output)
