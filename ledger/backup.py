"""A copy of the embedded SQLite ledger, taken while it is in use.

The copy is one state of the ledger, whole and on the disk when this returns, or it is not there at all.
Postings go on meanwhile. PostgreSQL has tools of its own for this.
"""

import os
import sqlite3
from pathlib import Path

from ledger import patience
from ledger.errors import DatabaseUnusable, Refused
from ledger.journal.segments import sync_folder


def back_up(source: Path, out: Path) -> int:
    """Copies the ledger at `source` to the new file `out`; its bytes. Raises Refused where there is one,
    DatabaseUnusable where it cannot be read or written.
    """
    if not source.exists():
        raise DatabaseUnusable(f"there is no ledger at {source}")
    draft = out.with_name(f".{out.name}.draft")
    try:
        if out.exists():
            raise Refused(f"{out} is there already: a backup never overwrites another")
        draft.unlink(missing_ok=True)
        os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        try:
            connection = sqlite3.connect(source, timeout=patience.SQLITE_BUSY_S, isolation_level=None)
            try:
                connection.execute("VACUUM INTO ?", (str(draft),))
            finally:
                connection.close()
            descriptor = os.open(draft, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            draft.rename(out)
            sync_folder(out.absolute().parent)
        finally:
            draft.unlink(missing_ok=True)
    except sqlite3.Error as error:
        raise DatabaseUnusable(f"cannot copy {source} to {out}: {error}") from error
    except OSError as error:
        raise DatabaseUnusable(f"cannot write {out}: {error.strerror}") from error
    return out.stat().st_size
