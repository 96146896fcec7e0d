"""When admin keys were last used: written behind the request, to the minute.

A key that is used all the time is written once in APART_US. The request does not wait for it, and does not
fail with it: what cannot be written now is written at a later use.
"""

import asyncio
import logging
from typing import Final

from ledger import admin_keys
from ledger.database import Database
from ledger.errors import LedgerError
from ledger.tables.tenancy import AdminKey

APART_US: Final = 60_000_000

_log = logging.getLogger("metergate.admin")


class LastUse:
    """Notes uses. Close it before the database."""

    def __init__(self, database: Database) -> None:
        """Writes to this ledger."""
        self._database = database
        self._writing: dict[str, asyncio.Task[None]] = {}

    def note(self, key: AdminKey, now_us: int) -> None:
        """The key was used now."""
        is_known = key.last_used_us is not None and now_us - key.last_used_us < APART_US
        if not is_known and key.id not in self._writing:
            task = asyncio.create_task(self._write(key.id, now_us))
            self._writing[key.id] = task
            task.add_done_callback(lambda _: self._writing.pop(key.id))

    async def close(self) -> None:
        """Waits for what is being written."""
        await asyncio.gather(*self._writing.values(), return_exceptions=True)

    async def _write(self, key_id: str, now_us: int) -> None:
        try:
            async with self._database.write() as session:
                await admin_keys.note_use(session, key_id, now_us)
        except LedgerError as fault:
            _log.warning("the last use of admin key %s is not written: %s", key_id, fault)
