"""Posting again what is posted already: for a ledger that was restored from a backup, and lacks it.

Posting takes the first record of each request id, so what the ledger has is left as it is, and what it lacks
comes in. It is rated by the prices that the ledger has now: a price that was set after the backup has to be
set again before.
"""

from functools import partial
from pathlib import Path

from ledger.direct_database import DirectDatabase
from ledger.journal.kept import kept_folders
from ledger.journal.reader import JournalReader
from ledger.journal.segments import (
    START,
    Position,
    folders,
    read_cursor,
    segment_numbers,
    write_cursor,
)
from ledger.poster import drain, poster_lock, wall_clock_us
from ledger.posting import BATCH_RECORDS_MAX, NOTHING_POSTED, PostResult, post
from ledger.terms import Terms


async def repost(database: DirectDatabase, data_dir: Path, currency: str = "USD") -> PostResult:
    """Post every segment that is there, the kept ones first; may be done any number of times.

    Raises JournalOwned while a poster is at work, DatabaseFault, and JournalFault for a mangled cursor.
    """
    lock = poster_lock(data_dir)
    lock.take_or_raise("posting")
    try:
        terms = Terms(currency)
        total = NOTHING_POSTED
        for folder in kept_folders(data_dir):
            total += await _post_all(database, folder, terms)
        for folder in folders(data_dir):
            _rewind(folder)
        return total + await drain(database, data_dir, terms)
    finally:
        lock.release()


async def _post_all(database: DirectDatabase, folder: Path, terms: Terms) -> PostResult:
    reader = JournalReader(folder, START)
    total = NOTHING_POSTED
    try:
        while True:
            begin = reader.position
            batch = reader.read(BATCH_RECORDS_MAX)
            if batch.end == begin:
                return total
            posting = partial(post, entries=batch.entries, terms=terms, now_us=wall_clock_us())
            total += await database.transact(posting)
    finally:
        reader.close()


def _rewind(folder: Path) -> None:
    """Back to the first segment that is there. A folder without any keeps its cursor, for its number."""
    numbers = segment_numbers(folder)
    if numbers:
        begin = Position(numbers[0], START.offset)
        write_cursor(folder, min(begin, read_cursor(folder)))
