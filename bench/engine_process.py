"""The benchmark's engine as a process of its own, and what it says of itself.

Must not know who is measured in front of it.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from bench.figures import Recorded
from bench.processes import on_core

_REPOSITORY = Path(__file__).resolve().parents[1]
_STILL_S = 0.05


@dataclass(frozen=True, slots=True)
class Tally:
    """What has left the engine since its start. `passed` is what a ledger must have; `unanswered` calls were
    given up before their first byte, and are none of those.
    """

    passed: Recorded
    unanswered: int
    chunks: int
    steps: int


class Engine:
    """Started at once, on one core."""

    def __init__(self, core: int) -> None:
        command = [sys.executable, "-m", "bench.engine", "--port", "0"]
        with on_core(core):
            self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=_REPOSITORY)
        assert self._process.stdout
        said = self._process.stdout.readline().split()
        self.url = f"http://127.0.0.1:{said[1]}"
        self.pid = self._process.pid

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        parts = urlsplit(self.url)
        assert parts.hostname and parts.port
        return parts.hostname, parts.port

    def tally(self) -> Tally:
        """What it has answered."""
        with urllib.request.urlopen(f"{self.url}/bench/stats") as answer:
            said = json.loads(answer.read())
        answered = sum(said["calls"].values()) - said["unanswered"]
        passed = Recorded(answered, said["completion_tokens"])
        return Tally(passed, said["unanswered"], said["chunks"], said["steps"])

    def settled(self) -> Tally:
        """The same, once a call that its client has just given up is counted, too."""
        tally = self.tally()
        while True:
            time.sleep(_STILL_S)
            before, tally = tally, self.tally()
            if before == tally:
                return tally

    async def finish(self) -> None:
        """Has every paced stream end whole, with its next chunk."""
        host, port = self.address
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(b"POST /bench/finish HTTP/1.1\r\nHost: engine\r\nContent-Length: 0\r\n\r\n")
        await reader.readuntil(b"{}")
        writer.close()

    def stop(self) -> str:
        """Ends it; returns what it says of its own CPU time."""
        self._process.terminate()
        return self._process.communicate(timeout=10)[0].strip()
