"""The file `holder` of a journal folder: whose leases its records are charged to.

It outlasts the process that wrote it, and a power cut: the next owner of the folder reads there whose end it
has to write. It is removed only once that end is on the disk.
"""

import os
from pathlib import Path

from ledger.journal.segments import sync_folder

NAME = "holder"


def read(folder: Path) -> str | None:
    """The holder that began here and has no end yet; None when there is none."""
    try:
        text = (folder / NAME).read_text(encoding="ascii", errors="replace")
    except FileNotFoundError:
        return None
    return text.strip() or None


def write(folder: Path, holder_id: str) -> None:
    """On the disk when this returns, whole or not at all. Raises OSError."""
    draft = folder / f".{NAME}"
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, f"{holder_id}\n".encode("ascii"))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    draft.replace(folder / NAME)
    sync_folder(folder)


def remove(folder: Path) -> None:
    """Nothing when it is gone already. Raises OSError."""
    (folder / NAME).unlink(missing_ok=True)
