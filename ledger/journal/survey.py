"""A survey of journals: what lies in them, for people to look at. Of a live data folder, or of a copy.

Reads only: moves no cursor, cuts nothing, and holds a lock no longer than it takes to see whether it is held.
What it tells of a live folder was true a moment ago. It needs no database, and tells nothing but what records
hold: no prompt, no answer, no key.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ledger.errors import JournalCorrupt, JournalFault
from ledger.journal import holder_file
from ledger.journal.flight import FLIGHT_NAME, read_flight
from ledger.journal.reader import JournalReader, end_position
from ledger.journal.segments import (
    FOLDER_PREFIX,
    START,
    Position,
    is_locked,
    read_cursor,
    segment_numbers,
    segment_sizes,
    waiting_in,
)
from ledger.record import CallRecord

READ_RECORDS: Final = 1000
FIRST_ENTRIES: Final = 3
"""Where a call is looked for: ends of workers may lie before it."""
TRIES: Final = 3
"""A live owner changes its flight recorder while it is read: a slot that reads as damaged is read again."""


@dataclass(slots=True)
class FolderSurvey:
    """One worker's folder. Times are microseconds since the epoch; `pid` is None where nobody has it.

    `waiting`: records that are not in the ledger yet, and `waiting_bytes` what they and all else between the
    cursor and the end take. `found`: what is not as it should be, in words.
    """

    name: str
    pid: int | None
    is_owned: bool
    holder_id: str | None
    segments: int = 0
    file_bytes: int = 0
    posted: Position = START
    end: Position = START
    waiting: int = 0
    waiting_bytes: int = 0
    waiting_tokens: int = 0
    oldest_us: int | None = None
    records: list[CallRecord] = field(default_factory=list)
    in_flight: list[CallRecord] = field(default_factory=list)
    found: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A file of bytes that were no record."""

    name: str
    file_bytes: int
    changed_us: int


def journal_folders(path: Path) -> list[Path]:
    """The workers' folders in a data folder, a journal folder, or the folder that is one. Raises
    JournalFault.
    """
    root = root_of(path)
    try:
        below = sorted(each for each in root.iterdir() if each.name.startswith(FOLDER_PREFIX))
    except OSError as error:
        raise JournalFault(f"cannot read {root}: {error.strerror}") from error
    is_one = root == path and (segment_numbers(path) or (path / FLIGHT_NAME).exists())
    return [path] if is_one and not below else below


def root_of(path: Path) -> Path:
    """The folder of the journals: `path` itself unless it is a data folder."""
    return path / "journal" if (path / "journal").is_dir() else path


def owner_of(lock: Path) -> tuple[bool, int | None]:
    """Whether somebody holds a lock, and the process id that stands in it then."""
    if not is_locked(lock):
        return False, None
    try:
        return True, int(lock.read_text(encoding="ascii", errors="replace"))
    except (OSError, ValueError):
        return True, None


def survey(folder: Path, records_max: int = 0) -> FolderSurvey:
    """Looks at one folder; `records_max` of the waiting records are kept, the oldest. Raises JournalFault for
    a folder that cannot be read.
    """
    is_owned, pid = owner_of(folder / "lock")
    try:
        seen = FolderSurvey(folder.name, pid, is_owned, holder_file.read(folder))
        _measure(folder, seen)
        _read_journal(folder, seen, records_max)
        _read_flight(folder, seen)
    except OSError as error:
        raise JournalFault(f"cannot read {folder}: {error.strerror}") from error
    return seen


def backlog(folder: Path) -> tuple[int, int | None]:
    """How many bytes of a folder wait for the ledger, and when the oldest call among them ended. Quick.
    Raises JournalFault, OSError.
    """
    posted = read_cursor(folder)
    waiting_bytes = waiting_in(folder, posted)
    if not waiting_bytes:
        return 0, None
    reader = JournalReader(folder, posted)
    try:
        calls = [entry for entry in reader.read(FIRST_ENTRIES).entries if isinstance(entry, CallRecord)]
    finally:
        reader.close()
    return waiting_bytes, calls[0].ended_us if calls else None


def quarantine(root: Path) -> list[Quarantined]:
    """What was set aside, the oldest first."""
    try:
        files = [(path.name, path.stat()) for path in (root / "quarantine").iterdir()]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise JournalFault(f"cannot read {root / 'quarantine'}: {error.strerror}") from error
    found = [Quarantined(name, file.st_size, file.st_mtime_ns // 1000) for name, file in files]
    return sorted(found, key=lambda file: (file.changed_us, file.name))


def _measure(folder: Path, seen: FolderSurvey) -> None:
    try:
        seen.posted = read_cursor(folder)
    except JournalFault as fault:
        seen.found.append(str(fault))
    sizes = segment_sizes(folder)
    seen.segments = len(sizes)
    seen.file_bytes = sum(size for _, size in sizes)
    seen.waiting_bytes = waiting_in(folder, seen.posted)


def _read_journal(folder: Path, seen: FolderSurvey, records_max: int) -> None:
    reader = JournalReader(folder, seen.posted)
    try:
        while True:
            begin = reader.position
            batch = reader.read(READ_RECORDS)
            for damage in batch.damages:
                place = damage.position
                seen.found.append(
                    f"{len(damage.data)} bytes in segment {place.segment} at {place.offset} are no record"
                )
            calls = [entry for entry in batch.entries if isinstance(entry, CallRecord)]
            if calls and seen.oldest_us is None:
                seen.oldest_us = calls[0].ended_us
            seen.waiting += len(calls)
            seen.waiting_tokens += sum(call.usage.total_tokens for call in calls)
            seen.records += calls[: records_max - len(seen.records)]
            if reader.position == begin:
                break
    except JournalCorrupt as fault:
        seen.found.append(f"{fault}; nothing behind it is posted")
    finally:
        reader.close()
    seen.end = end_position(folder, seen.posted)
    if not seen.is_owned and seen.end > reader.position and not seen.found:
        torn = seen.end.offset - reader.position.offset
        seen.found.append(f"{torn} bytes at the end are a torn record: the next owner cuts them")


def _read_flight(folder: Path, seen: FolderSurvey) -> None:
    path = folder / FLIGHT_NAME
    for is_last in [False] * (TRIES - 1) + [True]:
        try:
            flight = read_flight(path.read_bytes())
        except FileNotFoundError:
            return
        except JournalCorrupt as fault:
            seen.found.append(f"{path} cannot be read: {fault}")
            return
        if is_last or not seen.is_owned or not flight.damaged:
            break
    seen.in_flight = flight.records
    if flight.is_header_damaged:
        seen.found.append(f"the header of {path} is damaged")
    if flight.damaged:
        seen.found.append(f"{len(flight.damaged)} slots of {path} cannot be read")
    if flight.missing:
        seen.found.append(f"{path} is cut short by {flight.missing} slots")
