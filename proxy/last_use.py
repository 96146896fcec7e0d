"""When this worker last saw each secret: noted by the call in memory, written every WRITE_SECONDS.

What a call pays is one entry of a dict. What cannot be written is kept for the next time, as far as there is
room; a worker that is killed loses what it had not written yet.
"""

import asyncio
import logging
from functools import partial
from typing import Final

from ledger import secret_use
from ledger.direct_database import DirectDatabase
from ledger.errors import DatabaseFault
from ledger.pause import to_beat

WRITE_SECONDS: Final = 30.0
STOP_SECONDS: Final = 2.0
"""How long a worker that stops waits for the ledger to take what is left."""
KEPT_MAX: Final = 50_000
"""Secrets whose uses wait for a ledger that is away: as many as the worker knows keys."""

_log = logging.getLogger("metergate.ledger")


class LastUse:
    """`at`: when secrets were used, by their ids, since it was last written."""

    def __init__(self, database: DirectDatabase) -> None:
        self._database = database
        self.at: dict[int, int] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins to write."""
        self._task = asyncio.create_task(self._repeat())

    async def stop(self) -> None:
        """Writes what is left, if the ledger takes it at once."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await self.write()
        except TimeoutError:
            _log.warning("the last use of %d keys is not written: the ledger does not answer", len(self.at))

    async def write(self) -> None:
        """Writes what was noted; what cannot be written stays noted."""
        noted, self.at = self.at, {}
        try:
            for portion in secret_use.portions(noted.copy()):
                await self._database.transact(partial(secret_use.note, used=portion))
                for secret_id in portion:
                    del noted[secret_id]
        except DatabaseFault:
            pass  # who follows the log has said so
        finally:
            for secret_id, at_us in noted.items():
                if len(self.at) < KEPT_MAX:
                    self.at.setdefault(secret_id, at_us)

    async def _repeat(self) -> None:
        while True:
            await asyncio.sleep(to_beat(WRITE_SECONDS))
            try:
                await self.write()
            except Exception:
                # Whatever it is: it must not end the notes for good.
                _log.exception("the last use of keys cannot be written; trying again")
