"""The steps of a process as strace sees them, to compare with those that it counts itself.

Owns what strace calls each step. Stores into mapped memory and SQLite's locks are nothing that strace could
tell, and SQLite's syncs nothing that is counted.
"""

import os
import re
import signal
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path

CALLS = {
    "openat": "open",
    "write": "write",
    "pwrite64": "pwrite",
    "ftruncate": "truncate",
    "truncate": "truncate",
    "rename": "rename",
    "unlink": "unlink",
    "mkdir": "mkdir",
    "fallocate": "posix_fallocate",
    "fsync": "fsync",
    "fdatasync": "fdatasync",
}
SAME = {
    "replace": "rename",
    "ftruncate": "truncate",
    "SQLite pwrite64": "SQLite pwrite",
    "SQLite ftruncate": "SQLite truncate",
}
"""Steps that are the same system call."""
_LINE = re.compile(r"\d+ +(\w+)\((.*)")


def wait_for_strace() -> None:
    """For the process that is to be traced: nothing happens until it is."""
    os.kill(os.getpid(), signal.SIGSTOP)


def trace(child: int, folder: Path, output: Path) -> Callable[[], Counter[str]]:
    """Traces a process that waits for it; the result, to be asked when it is dead, are the steps that it made
    in the folder.
    """
    os.waitpid(child, os.WUNTRACED)
    command = [
        "strace",
        "-f",
        "-y",
        "-s",
        "4096",
        "-p",
        str(child),
        "-o",
        str(output),
        "-e",
        "trace=" + ",".join(CALLS),
    ]
    strace = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert strace.stderr is not None
    said = strace.stderr.readline()
    assert "attached" in said, said
    os.kill(child, signal.SIGCONT)

    def steps() -> Counter[str]:
        strace.communicate(timeout=60)
        return Counter(step for line in output.read_text().splitlines() if (step := _step(line, folder)))

    return steps


def _step(line: str, folder: Path) -> str | None:
    found = _LINE.match(line)
    if found is None or str(folder) not in line:
        return None
    name, arguments = found.groups()
    is_sqlites = f"{folder}/metergate.db" in arguments
    if name == "openat" and (is_sqlites or not re.search("O_CREAT|O_TRUNC", arguments)):
        return None
    if name in ("fsync", "fdatasync") and (is_sqlites or arguments.split("<")[1].startswith(f"{folder}>")):
        return None
    return f"SQLite {CALLS[name]}" if is_sqlites else CALLS[name]


def comparable(names: list[str]) -> Counter[str]:
    """The steps that were counted, as far as strace can see them, in its words."""
    return Counter(
        SAME.get(name, name) for name in names if not name.startswith("mapped") and name != "SQLite fcntl"
    )
