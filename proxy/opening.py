"""The beginning of a worker's dealings with the ledger, now or when it is back.

Owns the steps that need the database: the checks that this worker may serve at all, then the starts of its
parts. Rules:

- What is wrong at the first try ends the start, with the ledger's own line.
- A database that is away does not: the worker serves without it, answers 503 for what it cannot know, and the
  steps are tried until they are done. What then turns out to be wrong ends the worker, with the same line.
- The start waits for a slow database no longer than START_SECONDS.
- A step that is done is not done again.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final

from ledger import secret_check
from ledger.direct_database import DirectDatabase
from ledger.errors import DatabaseUnavailable, JournalFault, LedgerError

START_SECONDS: Final = 10.0
RETRY_SECONDS: Final = 0.5
RETRY_SECONDS_MAX: Final = 5.0

_log = logging.getLogger("metergate.ledger")

Step = Callable[[], Awaitable[None]]


class Opening:
    """Does `steps`, after the checks. `on_fault` is called when the worker must not go on serving."""

    def __init__(
        self, database: DirectDatabase, pepper: bytes, steps: Sequence[Step], on_fault: Callable[[], None]
    ) -> None:
        self._database = database
        self._pepper = pepper
        self._steps = [self._check, *steps]
        self._on_fault = on_fault
        self._was_away = False
        self._fault: LedgerError | None = None
        self._tried = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        """Returns when the steps are done, or as soon as the database is found away. Raises LedgerError."""
        self._task = asyncio.create_task(self._open())
        tried = asyncio.create_task(self._tried.wait())
        await asyncio.wait([self._task, tried], timeout=START_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        tried.cancel()
        if self._task.done():
            self._task.result()
            self.raise_fault()
        elif not self._was_away:
            self._went_away(f"no answer within {START_SECONDS} s")

    def raise_fault(self) -> None:
        """Raises what turned out to be wrong, if anything did."""
        if self._fault is not None:
            raise self._fault

    async def stop(self) -> None:
        """Tries no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _open(self) -> None:
        wait_s = RETRY_SECONDS
        while self._steps:
            try:
                await self._steps[0]()
                del self._steps[0]
                continue
            except DatabaseUnavailable as fault:
                self._went_away(str(fault))
            except LedgerError as fault:
                if not (self._was_away and isinstance(fault, JournalFault)):
                    self._fault = fault
                    self._on_fault()
                    return
                _log.error("%s; trying again", fault)
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, RETRY_SECONDS_MAX)
        if self._was_away:
            _log.warning("the ledger is there: keys are taken")

    def _went_away(self, why: str) -> None:
        if not self._was_away:
            _log.warning("starting without the ledger, keys are answered 503 until it is there: %s", why)
        self._was_away = True
        self._tried.set()

    async def _check(self) -> None:
        """Where nobody could look before: whether the schema is this code's. Then the secret."""
        if self._was_away:
            await self._database.check()
        await self._database.look(partial(secret_check.check, pepper=self._pepper))
