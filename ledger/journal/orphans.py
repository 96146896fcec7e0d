"""Orphans: folders whose owner is dead and was not started again.

The poster looks, since it is the one process of a host that sees all folders. Rules:

- A folder is taken over as its next owner would take it: by its lock, the calls in flight into the journal,
  the holder's end behind them, and let go. Each step may be the last one: whoever comes next does it again,
  under the same request ids, which adds nothing to the book.
- Not before its lock has been free for a grace: a supervisor that starts the worker again comes first.
- A worker that starts meanwhile waits for the lock (`JournalWriter`, `patience_s`).
- A folder that cannot be taken over keeps what it has, is complained of, and tried again later. It keeps
  nobody from posting.
"""

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from ledger.errors import JournalCorrupt, JournalFault, JournalOwned
from ledger.journal import holder_file
from ledger.journal.flight import FLIGHT_NAME
from ledger.journal.reader import end_position, has_whole_record
from ledger.journal.recovery import recover_into
from ledger.journal.segments import folders, is_locked, read_cursor
from ledger.journal.writer import JournalWriter
from ledger.record import CallRecord

logger = logging.getLogger(__name__)

LOOK_S: Final = 1.0  # looking costs three system calls a folder
GRACE_S: Final = 5.0  # a worker that is started again has its folder within two seconds
RETRY_S: Final = 30.0  # each try that a full disk ends may leave some records, which are there twice then


class Orphans:
    """The orphaned folders of one data folder."""

    def __init__(
        self, data_dir: Path, *, grace_s: float = GRACE_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`clock` gives seconds, and never goes back."""
        self._data_dir = data_dir
        self._grace_s = grace_s
        self._clock = clock
        self._look_at = 0.0
        self._due: dict[Path, float] = {}
        self._retry_at: dict[Path, float] = {}

    def look(self) -> list[CallRecord]:
        """Takes over what has been without an owner for long enough; the calls that were in flight there.

        For every turn: it looks once in LOOK_S. Blocks for some 50 ms where a folder is taken over.
        """
        now = self._clock()
        if now < self._look_at:
            return []
        self._look_at = now + LOOK_S
        recovered: list[CallRecord] = []
        for folder in folders(self._data_dir):
            if now < self._retry_at.get(folder, 0.0):
                continue
            try:
                if not leaves_something(folder) or is_locked(folder / "lock"):
                    self._due.pop(folder, None)
                elif now >= self._due.setdefault(folder, now + self._grace_s):
                    recovered += take_over(folder)
                    del self._due[folder]
            except JournalOwned:  # its owner came just now
                del self._due[folder]
            except (JournalFault, OSError) as fault:
                self._retry_at[folder] = now + RETRY_S
                logger.error("%s has no owner and cannot be taken over now: %s", folder, fault)
        return recovered


def leaves_something(folder: Path) -> bool:
    """Whether the next owner of a folder would find something to do there. Raises JournalFault, OSError."""
    if (folder / FLIGHT_NAME).exists() or (folder / holder_file.NAME).exists():
        return True
    posted = read_cursor(folder)
    end = end_position(folder, posted)
    try:
        return end > posted and not has_whole_record(folder, posted, end)  # a torn tail, which will not grow
    except JournalCorrupt:  # another version's, which no owner of ours can do anything about
        return False


def take_over(folder: Path) -> list[CallRecord]:
    """Do what the next owner of a folder does first, and let it go; the calls that were in flight there.

    Blocks. Raises JournalOwned where it has an owner, JournalFault where it cannot be written.
    """
    journal = JournalWriter(folder)
    try:
        logger.warning("%s has no owner any more: it is taken over", folder)
        recovered = recover_into(journal, folder)
        journal.end_holder_before()
    finally:
        journal.close()
    return recovered
