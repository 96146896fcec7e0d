"""Waiting until what is settled is posted: reports and exports begin with it.

A call is settled once its record is in a journal. The ends of all journals at the call are waited for, not
what comes later, so it ends under any load. Where no poster is at work the waiter posts itself.
"""

import asyncio
import time
from pathlib import Path
from typing import Final

from ledger.direct_database import DirectDatabase
from ledger.errors import JournalOwned, PostingLate
from ledger.journal.reader import end_position, has_whole_record
from ledger.journal.segments import Position, folders, is_locked, journal_root, read_cursor
from ledger.poster import drain_once

LOOK_S: Final = 0.02


async def wait_posted(
    data_dir: Path, database: DirectDatabase, timeout_s: float = 10.0, *, currency: str = "USD"
) -> None:
    """Return once everything that is settled now is in the ledger. `currency` is that of unpriced rows.

    Raises PostingLate after `timeout_s`, DatabaseFault when it has to post itself and cannot.
    """
    ends = {folder: end_position(folder, read_cursor(folder)) for folder in folders(data_dir)}
    deadline = time.monotonic() + timeout_s
    while waiting := {folder: end for folder, end in ends.items() if not _is_posted(folder, end)}:
        if not is_locked(journal_root(data_dir) / "poster.lock"):
            try:
                await drain_once(database, data_dir, currency)
            except JournalOwned:  # a poster came up just now
                continue
        elif time.monotonic() >= deadline:
            raise PostingLate(
                f"calls of {len(waiting)} journals are not in the ledger after {timeout_s:g} s;"
                " is the database in reach? `--no-wait` reports without them"
            )
        else:
            await asyncio.sleep(LOOK_S)


def _is_posted(folder: Path, end: Position) -> bool:
    posted = read_cursor(folder)
    return posted >= end or not has_whole_record(folder, posted, end)
