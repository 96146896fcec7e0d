"""metergate as an operator's service: `metergate proxy` under something that starts it again when it ends.

Owns the supervisor's process, its coming and going, and who its children are. Must not know why it is
stopped."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from bench.processes import tree
from ledger.errors import JournalCorrupt
from ledger.journal.flight import FLIGHT_NAME, SLOT_BYTES, read_flight
from ledger.journal.segments import worker_folder
from race.processes import ROOT, outside, wait_for

_AGAIN_S = 0.5
_READY_S = 90.0
_STOP_S = 60.0

_LOOKED_AT_BYTES = 257 * SLOT_BYTES
"""The first slots are taken first: enough of the file to see who is busy, while it still is."""

WORKER, POSTER = "proxy.worker", "ledger.poster"


class Service:
    """`metergate proxy` on a data folder. `workers`: asked at each start for how many there are to be."""

    def __init__(
        self, data: Path, engines: list[str], words: Path, workers: Callable[[], int], **settings: str
    ) -> None:
        """`settings` by their names, in lower case."""
        self._data = data
        self._words = words
        self._workers = workers
        self.port = free_port()
        self._environment = {
            **outside(),
            "METERGATE_DATA_DIR": str(data),
            "METERGATE_ENGINES": ",".join(engines),
            "METERGATE_PORT": str(self.port),
            "METERGATE_METRICS_PORT": "0",
            **{f"METERGATE_{name.upper()}": value for name, value in settings.items()},
        }
        self._wanted = True
        self._ready = threading.Event()
        self._popen: subprocess.Popen[bytes] | None = None
        self.starts = 0
        self.failed_starts = 0
        self.statuses: list[int] = []  # of drains
        self._draining = False
        self._keeper = threading.Thread(target=self._keep, name="keeper", daemon=True)
        self._keeper.start()

    def wait_ready(self) -> None:
        """Waits until it serves. Raises AssertionError with its words."""
        assert self._ready.wait(_READY_S), f"metergate does not start: {self.words()[-4000:]}"

    @property
    def is_ready(self) -> bool:
        """Whether it has said that it serves, and has not ended since."""
        return self._ready.is_set()

    def words(self) -> str:
        """All that it said."""
        return self._words.read_text(errors="replace")

    def _keep(self) -> None:
        while self._wanted:
            with self._words.open("ab") as said:
                popen = subprocess.Popen(
                    [sys.executable, "-P", "-m", "admin", "proxy", "--workers", str(self._workers())],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=said,
                    env=self._environment,
                    cwd=ROOT,
                    start_new_session=True,
                )
            self._popen = popen
            assert popen.stdout is not None
            was_ready = False
            for line in popen.stdout:
                if line == b"ready\n":
                    was_ready = True
                    self.starts += 1
                    self._ready.set()
            status = popen.wait()
            popen.stdout.close()
            self._ready.clear()
            self._popen = None
            self.failed_starts += not was_ready
            if self._draining:
                self._draining = False
                self.statuses.append(status)
            if self._wanted:
                time.sleep(_AGAIN_S)

    # What breaks it.

    def pids(self, module: str) -> dict[int, int]:
        """{worker's number (the poster: 0): process id} of the live children that run that module."""
        popen = self._popen
        if popen is None:
            return {}
        found = {}
        for pid in tree(popen.pid):
            words = _command(pid)
            if module in words:
                at = words.index("--worker") + 1 if "--worker" in words else 0
                found[int(words[at]) if at else 0] = pid
        return found

    def busy_workers(self) -> dict[int, tuple[int, int]]:
        """{number: (process id, calls in flight)} of the workers that serve anything now."""
        busy = {}
        for number, pid in self.pids(WORKER).items():
            in_flight = self._in_flight(number)
            if in_flight:
                busy[number] = (pid, in_flight)
        return busy

    def holding_workers(self) -> dict[int, int]:
        """{number: process id} of the workers that own their folders, and so have what lay there."""
        return {number: pid for number, pid in self.pids(WORKER).items() if self._owner(number) == pid}

    def _owner(self, number: int) -> int | None:
        try:
            return int((worker_folder(self._data, number) / "lock").read_text())
        except (OSError, ValueError):  # it is just being taken
            return None

    def _in_flight(self, number: int) -> int:
        try:
            with self.flight_path(number).open("rb") as flight:
                return len(read_flight(flight.read(_LOOKED_AT_BYTES)).records)
        except (OSError, JournalCorrupt):  # it is just being made
            return 0

    def flight_path(self, number: int) -> Path:
        """Where a worker's flight recorder is."""
        return worker_folder(self._data, number) / FLIGHT_NAME

    def kill_supervisor(self) -> bool:
        """kill -9 of the supervisor alone; whether there was one."""
        return self._popen is not None and kill(self._popen.pid)

    def kill_all(self) -> bool:
        """kill -9 of the supervisor and of all its children; whether there was anything."""
        if self._popen is None:
            return False
        return sum(kill(pid) for pid in tree(self._popen.pid)) > 0

    def drain(self) -> bool:
        """SIGTERM; it is started again when it has ended. False where nothing was serving."""
        if self._popen is None or not self.is_ready:
            return False
        self._draining = True
        with suppress(ProcessLookupError):
            self._popen.send_signal(signal.SIGTERM)
        return True

    def start_anew(self) -> None:
        """A drain and another start, waited for: then what the dead left in their folders is recovered."""
        self.wait_ready()
        before = self.starts
        wait_for(lambda: True if self.drain() else None, "metergate to take a signal", patience_s=_READY_S)
        wait_for(lambda: True if self.starts > before else None, "another start", patience_s=2 * _READY_S)

    def stop(self) -> int:
        """Ends it for good, in peace; the exit status."""
        self._wanted = False
        popen = self._popen
        assert popen is not None, "nothing runs that could be stopped"
        popen.send_signal(signal.SIGTERM)
        self._keeper.join(_STOP_S)
        assert not self._keeper.is_alive(), f"it does not stop: {self.words()[-4000:]}"
        return popen.returncode

    def end(self) -> None:
        """Ends whatever still runs of it."""
        self._wanted = False
        for pid in (*self.pids(WORKER).values(), *self.pids(POSTER).values()):
            kill(pid)
        self.kill_all()
        self._keeper.join(_STOP_S)


def kill(pid: int) -> bool:
    """kill -9; whether it was there."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def free_port() -> int:
    """A port below those that the kernel hands out: nobody takes it while metergate is down."""
    for port in range(21_000 + os.getpid() % 5_000, 32_000):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no free port")


def _command(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
    except (FileNotFoundError, ProcessLookupError):
        return []
