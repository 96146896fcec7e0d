"""The engine of a race: the simulator as a process, and its own account of every call.

Owns starting it and reading its account. Must not know prices or limits.
"""

from __future__ import annotations

import json
import os
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proxy.simulator.server import listen
from race.processes import Process, outside


def start_engine(*arguments: str, port: int = 0, words: Path = Path(os.devnull)) -> tuple[Process, int]:
    """Starts `python -m proxy.simulator` with these arguments; the process, ready, and its port.

    From here on only that process holds the socket: killed, it refuses connections.
    """
    listening = listen("127.0.0.1", port)
    try:
        fd = listening.fileno()
        process = Process("proxy.simulator", "--fd", str(fd), *arguments, fd=fd, env=outside(), words=words)
        taken: int = listening.getsockname()[1]
    finally:
        listening.close()
    try:
        process.ready()
    except BaseException:
        process.kill()
        raise
    return process, taken


@dataclass(frozen=True, slots=True)
class EngineCall:
    """One call as the engine saw it; `ended_us` 0 while it runs."""

    request_id: str
    arrived_us: int
    ended_us: int
    prompt_tokens: int
    generated_tokens: int
    made_any: bool  # an engine counts nothing of a call that leaves before its first token


class RaceEngine:
    """A running simulator."""

    def __init__(self, words: Path, *arguments: str) -> None:
        self.process, port = start_engine(*arguments, words=words)
        self.url = f"http://127.0.0.1:{port}"

    def totals(self) -> dict[str, Any]:
        """Over all calls: counts of tokens, `calls`, `in_flight_max`, `ended` by how."""
        return dict(self._get("totals"))

    def running(self) -> int:
        """How many calls run now."""
        return int(self.totals()["ended"]["running"])

    def calls(self) -> list[EngineCall]:
        """Every call, the oldest first; of more than the simulator keeps, the latest."""
        return [
            EngineCall(
                call["request_id"],
                call["arrived_us"],
                call["ended_us"],
                call["prompt_tokens"],
                call["generated_tokens"],
                call["prefilled"],
            )
            for call in self._get("calls")
        ]

    def _get(self, name: str) -> Any:
        with urllib.request.urlopen(f"{self.url}/simulator/{name}", timeout=20) as answer:
            return json.loads(answer.read())

    def stop(self) -> None:
        """Ends it."""
        self.process.kill()
