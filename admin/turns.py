"""Whose turn it is to start: as many processes start at a time as there are cores.

A process that starts imports, which keeps a core busy. Where more start than there are cores, the longest of
them gets a part of one only, and everything waits for it; where they start in turn, the longest first, it has
a core to itself. A process that does not answer for PATIENCE_SECONDS waits for something else than a core,
and keeps nobody from starting. Standard library only.
"""

import asyncio
import os
from typing import Final

from ledger.pause import pause

PATIENCE_SECONDS: Final = 2.0


class Turns:
    """The turns of one start. Whoever asks first is first."""

    def __init__(self, at_once: int, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._free = asyncio.Semaphore(at_once)
        self._patience_seconds = patience_seconds
        self._running: set[asyncio.Task[None]] = set()

    async def take(self, until: asyncio.Event) -> None:
        """Returns when it is the caller's turn, which ends with the event."""
        await self._free.acquire()
        turn = asyncio.create_task(self._run_out(until))
        self._running.add(turn)
        turn.add_done_callback(self._running.discard)

    async def _run_out(self, until: asyncio.Event) -> None:
        try:
            await pause(self._patience_seconds, until)
        finally:
            self._free.release()


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
