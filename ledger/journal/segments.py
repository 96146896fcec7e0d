"""Names and places: segments, cursors, locks, and the folders of the workers.

A position is a segment's number and an offset in it, and positions of one folder are ordered. Numbers only
grow, also when every segment is posted and gone: the cursor remembers.
"""

import contextlib
import fcntl
import os
import time
from dataclasses import dataclass
from pathlib import Path

from ledger.errors import JournalFault, JournalOwned
from ledger.journal.frames import HEADER

SUFFIX = ".journal"
FOLDER_PREFIX = "worker-"

PATIENCE_S = 0.2
TAKE_OVER_S = 10.0  # what a folder may be held by who recovers it, before its worker gives up its start
TRY_S = 0.01


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A place in one folder's journal."""

    segment: int
    offset: int


START = Position(0, len(HEADER))


def journal_root(data_dir: Path) -> Path:
    """Where the journals of a data folder are."""
    return data_dir / "journal"


def worker_folder(data_dir: Path, worker: int) -> Path:
    """The journal folder of the worker with this number."""
    return journal_root(data_dir) / f"{FOLDER_PREFIX}{worker}"


def folders(data_dir: Path) -> list[Path]:
    """Every journal folder there is, live or left behind."""
    try:
        return sorted(
            path for path in journal_root(data_dir).iterdir() if path.name.startswith(FOLDER_PREFIX)
        )
    except FileNotFoundError:
        return []


def segment_path(folder: Path, number: int) -> Path:
    """The file of a segment."""
    return folder / f"{number:012d}{SUFFIX}"


def segment_numbers(folder: Path) -> list[int]:
    """The segments that are there, the oldest first."""
    try:
        names = os.listdir(folder)  # noqa: PTH208 (looked at ten times a second)
    except FileNotFoundError:
        return []
    return sorted(
        int(name[: -len(SUFFIX)]) for name in names if name.endswith(SUFFIX) and name[:12].isdigit()
    )


def segment_sizes(folder: Path) -> list[tuple[int, int]]:
    """The segments that are there and how long they are, the oldest first."""
    sizes = []
    for number in segment_numbers(folder):
        try:
            sizes.append((number, segment_path(folder, number).stat().st_size))
        except FileNotFoundError:  # posted and deleted just now
            continue
    return sizes


def waiting_in(folder: Path, posted: Position) -> int:
    """How many bytes of frames lie behind a position."""
    waiting = 0
    for number, size in segment_sizes(folder):
        if number >= posted.segment:
            begin = posted.offset if number == posted.segment else len(HEADER)
            waiting += max(0, size - begin)
    return waiting


def read_cursor(folder: Path) -> Position:
    """Up to where the folder is posted; START when nothing ever was, or nobody knows: posting again adds
    nothing. Raises JournalFault for a mangled cursor.
    """
    path = folder / "posted"
    try:
        text = path.read_text(encoding="ascii", errors="replace")
    except FileNotFoundError:
        return START
    if not text.strip("\0\n"):  # written, and not on the disk before a power cut; it is never synced
        return START
    try:
        segment, offset = text.split()
        return Position(int(segment), int(offset))
    except ValueError:
        raise JournalFault(
            f"{path} is no cursor; remove it, and all that is still there is posted again"
        ) from None


def write_cursor(folder: Path, position: Position) -> None:
    """Only after the commit. A crash in between posts again, which adds nothing."""
    draft = folder / ".posted"
    draft.write_text(f"{position.segment} {position.offset}\n", encoding="ascii")
    draft.replace(folder / "posted")


def sync_folder(folder: Path) -> None:
    """Make new names in a folder outlast a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class FileLock:
    """A flock on a file: held while this process lives, let go by the kernel when it dies however it dies."""

    def __init__(self, path: Path) -> None:
        """Names the file; takes nothing yet."""
        self._path = path
        self._descriptor: int | None = None

    def take(self) -> bool:
        """Whether it is ours now; False when another holds it. Makes the folder and the file."""
        assert self._descriptor is None, self._path
        self._path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            return False
        with contextlib.suppress(OSError):  # for people; the lock itself says who lives
            os.truncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._descriptor = descriptor
        return True

    def take_or_raise(self, what: str, patience_s: float = PATIENCE_S) -> None:
        """Raises JournalOwned, naming `what` is owned. Tries for a moment: `is_locked` holds locks that
        long.
        """
        give_up_at = time.monotonic() + patience_s
        while not self.take():
            if time.monotonic() >= give_up_at:
                break
            time.sleep(TRY_S)
        else:
            return
        raise JournalOwned(f"{what} is in use by another process ({self._path})")

    def release(self) -> None:
        """Let go; nothing when it is not held."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    @property
    def held(self) -> bool:
        """Whether it is ours."""
        return self._descriptor is not None


def is_locked(path: Path) -> bool:
    """Whether a live process holds the lock of this file. Changes nothing in it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
