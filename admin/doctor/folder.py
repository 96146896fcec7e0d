"""The data folder: there, writable, whose, with room; and nobody else reads the secrets in it."""

import os
import pwd
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from admin.doctor.finding import Check, Finding, Tell, note, ok, wrong
from admin.first_run_file import FILE_NAME as FIRST_RUN
from admin.first_run_file import draft_of
from ledger.journal.kept import FREE_BYTES_MIN as KEPT_BYTES_MIN
from ledger.journal.segments import journal_root
from ledger.secret_key import FILE_NAME as SECRET_KEY

INODES_MIN: Final = 1000
"""Free names on the disk: a journal needs a few, and a disk without any is as full as one without bytes."""
OTHERS: Final = 0o077
NAMED_MAX: Final = 3


def look_at_folder(data_dir: Path, tell: Tell) -> None:
    """Whether there is a folder that files can be made in."""
    check = Check.DATA_FOLDER
    try:
        found = data_dir.stat()
    except FileNotFoundError:
        tell(_missing(data_dir))
        return
    if not stat.S_ISDIR(found.st_mode):
        tell(wrong(check, f"{data_dir} is no folder", "choose one with METERGATE_DATA_DIR"))
        return
    if fault := _write_fault(data_dir):
        do = f"give it to {_user(os.geteuid())}, or run as its owner, {_user(found.st_uid)}"
        tell(wrong(check, f"{data_dir} is not writable ({fault})", do))
        return
    mode = stat.S_IMODE(found.st_mode)
    words = f"{data_dir} is writable, its mode {mode:04o}, its owner {_user(found.st_uid)}"
    if mode & 0o022:
        tell(wrong(check, f"others can write in it: {words}", f"chmod 700 {data_dir}"))
    elif found.st_uid != os.geteuid():
        do = f"run commands as {_user(found.st_uid)}: files that they make are who runs them's"
        tell(note(check, f"{words}; this is {_user(os.geteuid())}", do))
    else:
        tell(ok(check, words))


def look_at_space(data_dir: Path, free_bytes_min: int, tell: Tell) -> None:
    """What is free on its disk, beside what calls are refused at."""
    check = Check.DISK_SPACE
    disk = os.statvfs(data_dir)
    free = disk.f_bavail * disk.f_frsize
    words = f"{shown_bytes(free)} free of {shown_bytes(disk.f_blocks * disk.f_frsize)}"
    mark = f"METERGATE_DISK_FREE_BYTES_MIN, {shown_bytes(free_bytes_min)}"
    if free < free_bytes_min:
        tell(
            wrong(check, f"{words}: under {mark}, calls are refused", f"make room on the disk of {data_dir}")
        )
    elif disk.f_files and disk.f_favail < INODES_MIN:
        tell(wrong(check, f"{disk.f_favail} free inodes", f"delete files on the disk of {data_dir}"))
    elif free < max(2 * free_bytes_min, KEPT_BYTES_MIN):
        do = f"make room: under {mark}, calls are refused"
        tell(note(check, f"{words}: posted journals go before their time", do))
    else:
        tell(ok(check, words))


def look_at_modes(data_dir: Path, database: Path | None, tell: Tell) -> None:
    """Who beside their owner can read what holds keys, digests of keys, and who called what."""
    secrets = [data_dir / SECRET_KEY, data_dir / FIRST_RUN, draft_of(data_dir / FIRST_RUN)]
    open_secrets = [path for path in secrets if _mode(path) & OTHERS]
    books = _files_of(database) if database else []
    readable = [path for path in [*books, journal_root(data_dir)] if _is_open(path)]
    if open_secrets:
        files = " ".join(map(str, open_secrets))
        tell(
            wrong(Check.FILE_MODES, f"others can read {files}", f"chmod 600 {files}, and change what it held")
        )
    if readable:
        folders = " ".join(sorted({str(path.parent) for path in readable}))
        tell(wrong(Check.FILE_MODES, f"others can read {_named(readable)}", f"chmod 700 {folders}"))
    if not open_secrets and not readable:
        tell(ok(Check.FILE_MODES, "nobody but their owner can read secrets, ledger and journals"))


def look_at_owners(data_dir: Path, tell: Tell) -> None:
    """Whether all files are the folder owner's: a command that root ran leaves some that the service cannot
    write.
    """
    owner = data_dir.stat().st_uid
    strange = [path for path in _own_files(data_dir) if _owner(path) not in (owner, None)]
    if strange:
        do = f"chown -R {_user(owner)} {data_dir}, and run commands as {_user(owner)}"
        tell(wrong(Check.FILE_OWNERS, f"not {_user(owner)}'s: {_named(strange)}", do))
    else:
        tell(ok(Check.FILE_OWNERS, f"all files are {_user(owner)}'s"))


def shown_bytes(number: float) -> str:
    """`1.5 GiB`."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if number < 1024:
            return f"{number:.0f} {unit}" if unit == "bytes" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} TiB"


def _missing(data_dir: Path) -> Finding:
    do = "`metergate up` makes it; if it was there before: is its disk mounted, is METERGATE_DATA_DIR right?"
    return note(Check.DATA_FOLDER, f"{data_dir.absolute()} is not there yet", do)


def _write_fault(folder: Path) -> str | None:
    """A real file, since a mode does not tell of a read-only or a full disk."""
    probe = folder / f".doctor.{os.getpid()}"
    try:
        probe.write_bytes(bytes(4096))
        probe.unlink()
    except OSError as fault:
        return os.strerror(fault.errno or 0)
    return None


def _own_files(data_dir: Path) -> Iterator[Path]:
    yield from data_dir.iterdir()
    for name in ("run", "journal"):
        for folder, folders, files in os.walk(data_dir / name):
            folders[:] = [each for each in folders if each not in ("kept", "metrics")]
            yield from (Path(folder, each) for each in (*folders, *files))


def _files_of(database: Path) -> list[Path]:
    return [database, *(database.with_name(database.name + end) for end in ("-wal", "-shm"))]


def _is_open(path: Path) -> bool:
    """Whether others than the owner can read it, and come through the folder that it is in."""
    mode, above = _mode(path), _mode(path.parent)
    return bool((mode & 0o004 and above & 0o001) or (mode & 0o040 and above & 0o010))


def _mode(path: Path) -> int:
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return 0


def _owner(path: Path) -> int | None:
    try:
        return path.lstat().st_uid
    except OSError:  # gone meanwhile
        return None


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def _named(paths: Iterable[Path]) -> str:
    names = [str(path) for path in paths]
    rest = len(names) - NAMED_MAX
    return ", ".join(names[:NAMED_MAX]) + (f" and {rest} more" if rest > 0 else "")
