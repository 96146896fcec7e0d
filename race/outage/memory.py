"""How much memory a process has, as the kernel counts it: what is its own, without the files that it maps."""

from __future__ import annotations

import os
from pathlib import Path


def resident_bytes(pid: int | None = None) -> int:
    """Its anonymous memory now; our own unless told otherwise."""
    return _kib(pid or os.getpid(), "RssAnon") * 1024


def _kib(pid: int, name: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return int(value.split()[0])
    return 0
