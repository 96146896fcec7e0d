"""Who listens on a port of this machine, as Linux tells in /proc; nothing where it tells nothing.

Never a process's whole command line, which may hold secrets: its name, or the module that Python runs.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PROC: Final = Path("/proc")
_LISTENS: Final = "0A"
_OURS: Final = ("proxy.", "admin", "ledger.")
_FOLDER: Final = b"METERGATE_DATA_DIR="


@dataclass(frozen=True, slots=True)
class Listener:
    """A process. `data_dir`: where it is a metergate's, as far as that can be read."""

    pid: int
    name: str
    is_metergate: bool
    data_dir: str | None = None

    def __str__(self) -> str:
        """In an operator's words."""
        if not self.is_metergate:
            return f"{self.name} (process {self.pid})"
        where = f" on the data folder {self.data_dir}" if self.data_dir else ""
        return f"another metergate{where} (process {self.pid})"


def listener_on(port: int) -> Listener | None:
    """The process that listens there, a metergate before others; None where nobody can tell."""
    inodes = set(_inodes(port))
    found = [_describe(pid) for pid in _holders(inodes)] if inodes else []
    return min(found, key=lambda each: (each.data_dir is None, each.pid), default=None)


def _inodes(port: int) -> Iterator[str]:
    for name in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in (PROC / "net" / name).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTENS and int(fields[1].rpartition(":")[2], 16) == port:
                    yield f"socket:[{fields[9]}]"


def _holders(inodes: set[str]) -> Iterator[int]:
    for folder in PROC.iterdir():
        if folder.name.isdigit():
            with suppress(OSError):  # another user's, or gone
                if any(_target(entry) in inodes for entry in (folder / "fd").iterdir()):
                    yield int(folder.name)


def _target(entry: Path) -> str:
    with suppress(OSError):
        return str(entry.readlink())
    return ""


def _describe(pid: int) -> Listener:
    folder = PROC / str(pid)
    words: list[str] = []
    with suppress(OSError):
        words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
    name = "a process"
    with suppress(OSError):
        name = (folder / "comm").read_text().strip()
    module = words[words.index("-m") + 1] if "-m" in words[:-1] else ""
    is_ours = module.startswith(_OURS) or any(Path(word).name == "metergate" for word in words[:2])
    return Listener(pid, module or name, is_ours, _folder_of(folder) if is_ours else None)


def _folder_of(folder: Path) -> str | None:
    with suppress(OSError):
        for variable in (folder / "environ").read_bytes().split(b"\0"):
            if variable.startswith(_FOLDER):
                return variable.removeprefix(_FOLDER).decode(errors="replace")
    return None
