"""The load's process while it runs, seen from the one that breaks things."""

from __future__ import annotations

from pathlib import Path

import msgspec

from chaos.plan import CallReport, LoadPlan
from race.processes import start_load

_LAST_CALLS_S = 120.0


class RunningLoad:
    """Clients that call until they are told to stop. What they say goes to `words`."""

    def __init__(self, plan: LoadPlan, words: Path) -> None:
        self._words = words
        self._answer = words.with_suffix(".reports")
        self._process = start_load("chaos.load", msgspec.json.encode(plan), words, self._answer)

    def end(self) -> list[CallReport]:
        """No new calls; waits until those that run are over."""
        self._process.terminate()
        self._process.wait(_LAST_CALLS_S)
        assert self._process.returncode == 0, f"the load failed: {self._words.read_text()}"
        return msgspec.json.decode(self._answer.read_bytes(), type=list[CallReport])

    def kill(self) -> None:
        """Ends it, whatever it does."""
        self._process.kill()
        self._process.wait()
