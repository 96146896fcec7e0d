"""The journals: what waits for the ledger and for how long, beside the mark; the poster; what the dead left;
what was no record.
"""

from pathlib import Path
from typing import Final

from admin.doctor.finding import Check, Finding, Tell, note, ok, wrong
from admin.doctor.folder import shown_bytes
from ledger.errors import JournalFault
from ledger.journal.orphans import leaves_something
from ledger.journal.segments import folders, is_locked, journal_root
from ledger.journal.survey import backlog, owner_of, quarantine

LATE_S: Final = 60.0
"""A poster is never so far behind while its database answers."""
NEARLY_FULL: Final = 0.8
"""Of METERGATE_JOURNAL_BYTES_MAX, past which calls are refused."""


def look_at_journals(data_dir: Path, bytes_max: int, now_us: int, *, is_serving: bool, tell: Tell) -> None:
    """`bytes_max`: of each worker. `is_serving`: whether a data plane runs here."""
    waiting, oldest_s, fullest = 0, 0.0, 0
    for folder in folders(data_dir):
        try:
            waiting_bytes, oldest_us = backlog(folder)
        except JournalFault as fault:
            fact, _, do = str(fault).partition("; ")
            tell(wrong(Check.JOURNAL, fact, do or "`metergate journal inspect`", about=folder.name))
            continue
        waiting += waiting_bytes
        fullest = max(fullest, waiting_bytes)
        if oldest_us is not None:
            oldest_s = max(oldest_s, (now_us - oldest_us) / 1e6)
    tell(_waiting(waiting, oldest_s, fullest, bytes_max, is_serving=is_serving))
    tell(_poster(data_dir, waiting, is_serving=is_serving))


def look_at_orphans(data_dir: Path, tell: Tell) -> None:
    """Folders without an owner in which something is left to do."""
    found = [
        folder.name
        for folder in folders(data_dir)
        if not is_locked(folder / "lock") and leaves_something(folder)
    ]
    if found:
        told = f"{', '.join(found)} of a dead worker is not settled yet"
        do = "the poster does within 5 s, or the next start: `metergate journal inspect`; who killed it?"
        tell(note(Check.ORPHANS, told, do))
    else:
        tell(ok(Check.ORPHANS, "no dead worker left anything to settle"))


def look_at_quarantine(data_dir: Path, tell: Tell) -> None:
    """Bytes that were no record."""
    kept = quarantine(journal_root(data_dir))
    if kept:
        told = f"{len(kept)} files of bytes that were no record, the newest {kept[-1].name}"
        do = (
            f"look at the disk, keep them until you know why, then delete {journal_root(data_dir)}/quarantine"
        )
        tell(note(Check.QUARANTINE, told, do))
    else:
        tell(ok(Check.QUARANTINE, "no journal was ever damaged"))


def _waiting(waiting: int, oldest_s: float, fullest: int, bytes_max: int, *, is_serving: bool) -> Finding:
    if not waiting:
        return ok(Check.JOURNAL, "no settled call waits for the ledger")
    told = f"{shown_bytes(waiting)} of settled calls wait for the ledger, the oldest for {oldest_s:.0f} s"
    if fullest >= bytes_max * NEARLY_FULL:
        do = "bring the database and the poster back: at METERGATE_JOURNAL_BYTES_MAX calls are refused"
        return wrong(Check.JOURNAL, f"{told}; {shown_bytes(fullest)} of {shown_bytes(bytes_max)} in one", do)
    if oldest_s > LATE_S and is_serving:
        return wrong(Check.JOURNAL, told, "does the database answer, does the poster run? its lines say why")
    if oldest_s > LATE_S:
        return note(Check.JOURNAL, told, "start metergate, or `metergate usage show`: it posts them")
    return ok(Check.JOURNAL, told)


def _poster(data_dir: Path, waiting: int, *, is_serving: bool) -> Finding:
    is_posting, pid = owner_of(journal_root(data_dir) / "poster.lock")
    if is_posting:
        return ok(Check.POSTER, f"it runs (process {pid or 'unknown'})")
    if is_serving:
        do = (
            "it is started again by itself: its lines say why it ends; `metergate usage show` posts meanwhile"
        )
        return wrong(Check.POSTER, "it does not run, and a data plane does", do)
    told = "it does not run, and nothing waits for it" if not waiting else "it does not run"
    return ok(Check.POSTER, told, "" if not waiting else "start metergate")
