"""Recovery: the calls that a killed worker left in its flight recorder go into the journal.

Whoever recovers has the folder: it made its JournalWriter. The order is: append, sync, then the old file
goes. A crash in between recovers the same calls again, under the same request ids, and posting takes the
first of each. For the same reason a call whose settled record is in the journal already keeps it, though its
slot was not free yet: that record comes before the recovered one.

What cannot be read is kept beside the damaged journals, and said; it never keeps a worker from starting.
"""

import logging
import time
from pathlib import Path

from ledger.errors import JournalCorrupt, JournalFault
from ledger.journal.flight import FLIGHT_NAME, Flight, read_flight
from ledger.journal.writer import JournalWriter
from ledger.record import CallRecord
from ledger.usage import UsageSource

logger = logging.getLogger(__name__)


def recover_into(journal: JournalWriter, folder: Path) -> list[CallRecord]:
    """Take the calls in flight of the folder's dead owner into the journal; which they were.

    Blocks. Raises JournalFault where the journal cannot take them: they stay where they are then.
    """
    path = folder / FLIGHT_NAME
    try:
        data = path.read_bytes()
        flight = read_flight(data)
    except FileNotFoundError:
        return []
    except JournalCorrupt as fault:
        _set_aside(path, f"{path} cannot be read ({fault}); calls that were in flight are not in the ledger")
        return []
    except OSError as error:
        raise JournalFault(f"cannot read {path}: {error.strerror}") from error
    for record in flight.records:
        journal.append(record)
    if flight.records:
        journal.sync()
        unknown = sum(record.usage_source is UsageSource.UNRESOLVED for record in flight.records)
        logger.warning(
            "recovered %d calls that were in flight when their worker was killed, %d of them without a count",
            len(flight.records),
            unknown,
        )
    if flight.is_header_damaged or flight.damaged or flight.missing:
        _set_aside(path, _damage(path, flight))
    else:
        path.unlink()
    return flight.records


def _damage(path: Path, flight: Flight) -> str:
    if flight.damaged:
        slots = ", ".join(map(str, flight.damaged[:10])) + (", ..." if len(flight.damaged) > 10 else "")
        return f"slots {slots} of {path} cannot be read; calls that were in flight may not be in the ledger"
    if flight.missing:
        return f"{path} is cut short; calls that were in flight may not be in the ledger"
    return f"the header of {path} is damaged; every slot could be read"


def _set_aside(path: Path, why: str) -> None:
    """Keep the file for people to look at, and say so."""
    kept = path.parent.parent / "quarantine" / f"{path.parent.name}-{path.name}-{time.time_ns() // 1000}"
    try:
        kept.parent.mkdir(exist_ok=True)
        path.rename(kept)
    except OSError as error:
        raise JournalFault(f"cannot set {path} aside: {error.strerror}") from error
    logger.error("%s; the file is kept in %s", why, kept)
