"""metergate as shipped: `metergate up` with one worker on SQLite; key check, limits, metering, journal,
prices and posting all on.

Rules: default settings but for ports and the data folder; the model has a price, so that posting rates each
row; the key has a limit of each nature, none of which is reached. The whole tree counts: supervisor, worker,
poster and control plane. Must not know how it is measured.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from bench.subjects.launch import await_up, end, free_port, launch
from bench.wire import MODEL

LIMITS = (
    ("--kind", "spend", "--max", "1000000", "--window", "month"),
    ("--kind", "tokens", "--max", "1000000000000", "--window", "day"),
    ("--kind", "requests", "--max", "60000000", "--window", "minute"),
    ("--kind", "concurrent", "--max", "100000"),
)
"""A budget, a quota, a rate and slots."""

_REPOSITORY = Path(__file__).resolve().parents[2]


class Metergate:
    """This working tree's metergate."""

    name = "metergate"
    usage_event = False

    def __init__(self, engine_url: str, folder: Path, core: int) -> None:
        self._engine_url = engine_url
        self._core = core
        self._data_dir = folder / "data"
        self._log = folder / "metergate.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self.key = ""
        self.version = ""

    @staticmethod
    def missing() -> str | None:
        installed = (_REPOSITORY / "admin" / "cli" / "__main__.py").exists() or (
            _REPOSITORY / "admin" / "__main__.py"
        ).exists()
        return None if installed else "metergate cannot be started from this working tree yet"

    def start(self) -> None:
        self.version = _revision()
        command = [sys.executable, "-m", "admin", "up", "--engine", self._engine_url, "--workers", "1"]
        command += [
            "--port",
            str(self._port),
            "--admin-port",
            str(free_port()),
            "--data-dir",
            str(self._data_dir),
        ]
        environ = {"METERGATE_METRICS_PORT": str(free_port()), "PYTHONPATH": str(_REPOSITORY)}
        self._process = launch(command, core=self._core, log=self._log, environ=environ)
        await_up(self._process, self._is_ready, log=self._log, within_s=60)
        self.key = json.loads((self._data_dir / "first-run.json").read_text())["api_key"]
        self._command("price", "set", MODEL, "--input", "0.15", "--cached-input", "0.075", "--output", "0.60")
        key_id = self._command("key", "list")[0]["id"]
        for limit in LIMITS:
            self._command("limit", "set", "--key", key_id, *limit)

    def _is_ready(self) -> bool:
        return self._log.exists() and b"ready\n" in self._log.read_bytes()

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    def recorded_calls(self) -> int | None:
        totals = self._command("usage", "show")
        calls: int = totals["calls"]
        return calls

    def stop(self) -> None:
        if self._process:
            end(self._process)

    def _command(self, *words: str) -> Any:
        """Runs one CLI command against the data folder, off the subject's core and tree; its JSON answer."""
        command = [sys.executable, "-m", "admin", *words, "--data-dir", str(self._data_dir), "--json"]
        done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=_REPOSITORY)
        return json.loads(done.stdout) if done.stdout.strip() else None


def _revision() -> str:
    """The commit measured, marked when the tree differs from it."""
    said = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        capture_output=True,
        text=True,
        cwd=_REPOSITORY,
        check=False,
    )
    return said.stdout.strip() or "unknown"
