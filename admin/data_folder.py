"""The data folder, as a starting process finds it: made, writable, and nobody else's.

Standard library only.
"""

import fcntl
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

METRICS_FOLDER = Path("run", "metrics")
ENGINES_FILE = Path("run", "engines")


class FolderUnusable(Exception):
    """The data folder cannot be used; the message says why and what to do."""


def prepare(data_dir: Path) -> None:
    """Makes the folder and its `run` part. Raises FolderUnusable unless files can be made in it."""
    probe = data_dir / "run" / f".writable.{os.getpid()}"
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        (data_dir / "run").mkdir(exist_ok=True)
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as fault:
        raise FolderUnusable(
            f"the data folder {data_dir} is not writable ({fault.strerror}); "
            "choose another with --data-dir or METERGATE_DATA_DIR"
        ) from None


def empty_metrics(data_dir: Path) -> Path:
    """The folder of the workers' metrics, empty: counters start at zero with every start."""
    folder = data_dir / METRICS_FOLDER
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def keep_engines(data_dir: Path, engines: Sequence[str]) -> None:
    """Leaves the engines that are served, so that commands know those of the command line, too."""
    leave(data_dir / ENGINES_FILE, engines)


def kept_engines(data_dir: Path) -> tuple[str, ...]:
    """The engines that are served here, or were when this folder was last in use; empty: never."""
    try:
        return tuple((data_dir / ENGINES_FILE).read_text().split())
    except OSError:
        return ()


def keep_places(data_dir: Path, role: str, urls: Mapping[str, str]) -> None:
    """Leaves where a role is reached, as URLs by who answers there: commands know port 0 by it, too."""
    leave(data_dir / "run" / f"{role}.urls", [f"{url} {name}" for name, url in urls.items()])


def kept_places(data_dir: Path, role: str) -> dict[str, str]:
    """Where a role is reached, while it is claimed; empty where nobody left it."""
    try:
        lines = (data_dir / "run" / f"{role}.urls").read_text().splitlines()
    except OSError:
        return {}
    return {name: url for url, _, name in (line.partition(" ") for line in lines)}


def is_claimed(data_dir: Path, role: str) -> bool:
    """Whether a process holds a role of this folder."""
    try:
        with (data_dir / "run" / f"{role}.lock").open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def holder(data_dir: Path, role: str) -> int | None:
    """The process that holds a role of this folder; None where none does, or it has not said yet."""
    if not is_claimed(data_dir, role):
        return None
    try:
        return int((data_dir / "run" / f"{role}.lock").read_text())
    except (OSError, ValueError):
        return None


def claim(data_dir: Path, role: str) -> IO[str]:
    """Holds a role of this folder (`proxy`, `admin`, `worker`) for as long as the result is open.

    Raises FolderUnusable, with the holder's process id, while another process holds it. kill -9 lets go of
    it.
    """
    path = data_dir / "run" / f"{role}.lock"
    file = path.open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        holder = file.read().strip() or "unknown"
        file.close()
        raise FolderUnusable(
            f"another metergate (process {holder}) runs on the data folder {data_dir}; "
            "stop it, or choose another folder with --data-dir"
        ) from None
    file.truncate(0)
    file.write(f"{os.getpid()}\n")
    file.flush()
    return file


def leave(path: Path, lines: Sequence[str]) -> None:
    """Writes a file for commands that come later, whole or not at all."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text("".join(f"{line}\n" for line in lines))
    draft.replace(path)
