"""The poster: one process a host that brings every journal of a data folder into the ledger database.

    python -m ledger.poster        settings from the environment, as every process of metergate

One for all workers, so that a batch of the whole host is one transaction, a dead worker's journal is posted
like any other, and no request waits behind a posting. It holds journal/poster.lock; a second one waits for
its turn. The order is: commit, then the cursors, then put away what is wholly posted (journal/kept.py); a
crash in between posts again, which adds nothing.

What workers left behind that nobody started again is taken over here, too (journal/orphans.py), by the same
order: first it is in the journal, and then it is posted like all else.

While the database is away it tries again, ever less often, and the journals keep the records. At SIGTERM it
posts what is there and leaves; a second one makes it leave at once.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from ledger.direct_database import DirectDatabase
from ledger.errors import DatabaseFault, DatabaseUnavailable, JournalCorrupt, JournalFault
from ledger.journal import kept
from ledger.journal.orphans import Orphans
from ledger.journal.reader import Batch, Damage, JournalReader
from ledger.journal.segments import (
    FileLock,
    Position,
    folders,
    journal_root,
    read_cursor,
    segment_numbers,
    segment_path,
    write_cursor,
)
from ledger.pause import pause
from ledger.posting import BATCH_RECORDS_MAX, NOTHING_POSTED, PostResult, post
from ledger.record import CallRecord, Entry
from ledger.terms import Terms

logger = logging.getLogger(__name__)

POLL_S: Final = 0.1  # what a record waits for at most; looking whether there is one costs some 5 us a folder
READ_S: Final = 1.0  # how often folders are read where nothing tells of a record
CALM_S: Final = 5.0
CALM_POLL_S: Final = 0.25  # and looked at, where nothing has come for CALM_S: waking is what costs then
BACKOFF_S_MAX: Final = 5.0
DRAIN_S_MAX: Final = 10.0
COMPLAINT_S: Final = 60.0  # a lasting trouble is said once a minute
FOREVER_S: Final = float("inf")  # who posts once leaves what is kept to the next poster
THIN_S: Final = 60.0  # how often kept segments are looked at


def wall_clock_us() -> int:
    """Microseconds since the Unix epoch."""
    return time.time_ns() // 1000


def poster_lock(data_dir: Path) -> FileLock:
    """The lock that makes a process the poster of a data folder."""
    return FileLock(journal_root(data_dir) / "poster.lock")


class Poster:
    """Posts what the journals of one data folder hold. Whoever makes one holds the poster's lock."""

    def __init__(
        self,
        database: DirectDatabase,
        data_dir: Path,
        terms: Terms,
        clock: Callable[[], int] = wall_clock_us,
        on_recovered: Callable[[Sequence[CallRecord]], None] = lambda _: None,
        *,
        keep_s: float = 0.0,
    ) -> None:
        """`clock` gives microseconds since the epoch. `on_recovered` is told of calls that no worker is left
        to count. `keep_s`: how long a posted segment is kept.
        """
        self._database = database
        self._data_dir = data_dir
        self._terms = terms
        self._clock = clock
        self._orphans = Orphans(data_dir)
        self._on_recovered = on_recovered
        self._keep_s = keep_s
        self._thin_at = 0.0
        self._readers: dict[Path, JournalReader] = {}
        self._complained: dict[str, float] = {}
        self._is_checked = False
        self._turn = 0
        self._quiet: object = None  # the signs of journals that were read to their end
        self._read_at = 0.0
        self._calm_at = time.monotonic() + CALM_S

    async def check(self) -> None:
        """Once, as soon as the database is there: whether its schema is ours. Raises DatabaseFault."""
        if not self._is_checked:
            await self._database.check()
            self._is_checked = True

    async def turn(self) -> PostResult:
        """Post one batch of what is there: one transaction for all folders. Raises DatabaseFault."""
        entries: list[Entry] = []
        batches: list[tuple[JournalReader, Position, Batch]] = []
        for reader in self._readers_in_turn():
            begin = reader.position
            batch = self._read(reader, BATCH_RECORDS_MAX - len(entries))
            if batch is not None and batch.end != begin:
                batches.append((reader, begin, batch))
                entries.extend(batch.entries)
            if len(entries) >= BATCH_RECORDS_MAX:
                break
        try:
            result = NOTHING_POSTED
            if entries:
                posting = partial(post, entries=entries, terms=self._terms, now_us=self._clock())
                result = await self._database.transact(posting)
            for reader, _, batch in batches:
                for damage in batch.damages:
                    self._set_aside(reader.folder, damage)
                write_cursor(reader.folder, batch.end)
                self._put_away(reader.folder, batch.end)
            self._thin()
        except BaseException:
            for reader, begin, _ in batches:
                reader.position = begin
            raise
        return result

    async def drain(self) -> PostResult:
        """Turns until there is nothing more. Raises DatabaseFault."""
        total = NOTHING_POSTED
        while (result := await self.turn()) != NOTHING_POSTED:
            total += result
        return total

    async def follow(self, stopping: asyncio.Event) -> None:
        """Post as records come, until told to stop; then what is there."""
        backoff_s = POLL_S
        while not stopping.is_set():
            result = None
            try:
                if recovered := self._orphans.look():
                    self._on_recovered(recovered)
                await self.check()
                result = await self._turn_where_due()
            except DatabaseFault as fault:
                self._complain("database", f"cannot post now, the journals keep the records: {fault}")
            except OSError as fault:
                self._complain("disk", f"posting failed; trying again: {fault}")
            except Exception:
                # A fault of ours: nothing is lost by trying again, and much by going away.
                logger.exception("posting failed; trying again in %.1f s", backoff_s)
            if result is None:
                backoff_s = min(backoff_s * 2, BACKOFF_S_MAX)
            else:
                if backoff_s > POLL_S:
                    logger.warning("posting works again")
                    for about in ("database", "disk"):
                        self._complained.pop(about, None)
                backoff_s = POLL_S
                if result.inserted + result.duplicates >= BATCH_RECORDS_MAX:
                    continue
            is_calm = backoff_s == POLL_S and time.monotonic() > self._calm_at
            await pause(CALM_POLL_S if is_calm else backoff_s, stopping)
        try:
            await asyncio.wait_for(self.drain(), DRAIN_S_MAX)
        except (DatabaseFault, OSError) as fault:  # TimeoutError is one
            logger.warning("left unposted, for the next start: %s", fault or "the time is up")

    async def _turn_where_due(self) -> PostResult:
        """A turn, unless nothing has come since one that found nothing."""
        signs, now = self._signs(), time.monotonic()  # before the reading: what comes meanwhile changes them
        if signs is not None and signs == self._quiet and now < self._read_at:
            return NOTHING_POSTED
        result = await self.turn()
        self._quiet, self._read_at = signs if result == NOTHING_POSTED else None, now + READ_S
        if result != NOTHING_POSTED:
            self._calm_at = now + CALM_S
        return result

    def _signs(self) -> object:
        try:
            root = journal_root(self._data_dir).stat().st_mtime_ns
        except OSError:
            return None
        signs = [reader.sign() for reader in self._readers.values()]
        return None if None in signs else (root, *signs)

    def close(self) -> None:
        """Close the segments."""
        for reader in self._readers.values():
            reader.close()

    def _known_readers(self) -> list[JournalReader]:
        for folder in folders(self._data_dir):
            if folder not in self._readers:
                try:
                    self._readers[folder] = JournalReader(folder, read_cursor(folder))
                except JournalFault as fault:
                    self._complain(str(folder), str(fault))
        return list(self._readers.values())

    def _readers_in_turn(self) -> list[JournalReader]:
        """All of them, another one first each time: no backlog of one worker keeps the others' calls back."""
        readers = self._known_readers()
        self._turn += 1
        first = self._turn % max(1, len(readers))
        return readers[first:] + readers[:first]

    def _read(self, reader: JournalReader, entries_max: int) -> Batch | None:
        try:
            return reader.read(entries_max)
        except (JournalCorrupt, OSError) as fault:
            self._complain(str(reader.folder), f"cannot read the journal {reader.folder}: {fault}")
            return None

    def _set_aside(self, folder: Path, damage: Damage) -> None:
        """Keep bytes that are no record for people to look at, and say so."""
        place = damage.position
        path = (
            journal_root(self._data_dir) / "quarantine" / f"{folder.name}-{place.segment:012d}-{place.offset}"
        )
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(damage.data)
        logger.error("%d bytes of %s are no record; they are kept in %s", len(damage.data), folder, path)

    def _put_away(self, folder: Path, posted: Position) -> None:
        for number in segment_numbers(folder):
            if number >= posted.segment:
                return
            try:
                if self._keep_s:
                    kept.keep(self._data_dir, folder, number)
            except OSError as fault:  # a full disk: what is posted makes room for what is not
                self._complain("kept", f"cannot keep posted segments of {folder}: {fault.strerror}")
            segment_path(folder, number).unlink(missing_ok=True)

    def _thin(self) -> None:
        if time.monotonic() < self._thin_at:
            return
        self._thin_at = time.monotonic() + THIN_S
        try:
            kept.thin(self._data_dir, self._keep_s, self._clock() / 1_000_000)
        except OSError as fault:
            self._complain("kept", f"cannot look after kept segments: {fault}")

    def _complain(self, about: str, line: str) -> None:
        now = time.monotonic()
        if now - self._complained.get(about, -COMPLAINT_S) >= COMPLAINT_S:
            self._complained[about] = now
            logger.error("%s", line)


async def drain_once(
    database: DirectDatabase, data_dir: Path, currency: str = "USD", *, keep_s: float = FOREVER_S
) -> PostResult:
    """Post everything that is in the journals now. Raises JournalOwned when a poster is at work, and
    DatabaseFault.
    """
    lock = poster_lock(data_dir)
    lock.take_or_raise("posting")
    try:
        return await drain(database, data_dir, Terms(currency), keep_s=keep_s)
    finally:
        lock.release()


async def drain(
    database: DirectDatabase, data_dir: Path, terms: Terms, *, keep_s: float = FOREVER_S
) -> PostResult:
    """As drain_once, for who holds the poster's lock."""
    poster = Poster(database, data_dir, terms, keep_s=keep_s)
    try:
        return await poster.drain()
    finally:
        poster.close()


async def run(
    database: DirectDatabase,
    data_dir: Path,
    currency: str,
    stopping: asyncio.Event,
    on_ready: Callable[[], None],
    on_recovered: Callable[[Sequence[CallRecord]], None] = lambda _: None,
    *,
    keep_s: float = 0.0,
) -> None:
    """Be the poster until told to stop. Raises DatabaseFault at the start, unless the database may come
    back.
    """
    lock = poster_lock(data_dir)
    if not lock.take():
        logger.warning("another poster is at work in %s: waiting for its end", data_dir)
        while not lock.take():
            await pause(1.0, stopping)
            if stopping.is_set():
                return
    poster = Poster(database, data_dir, Terms(currency), on_recovered=on_recovered, keep_s=keep_s)
    try:
        try:
            await poster.check()
        except DatabaseUnavailable as fault:
            logger.warning("starting without the database: %s", fault)
        on_ready()
        await poster.follow(stopping)
    finally:
        poster.close()
        lock.release()


if __name__ == "__main__":
    from ledger.process import main

    main()
