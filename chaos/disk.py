"""The disk of the data folder: small, so that it can be filled.

Where file systems may be mounted it is a file system of its own, in memory, which a ballast file fills.
Elsewhere the processes are told by their limits that no file may grow (`prlimit`): every write fails as on a
full disk, but what looks at the free space beforehand sees a disk with room."""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

MIB = 1 << 20
_BALLAST = "ballast"
_SIZE_MIB = 768
"""128 MiB are what metergate wants free; 32 MiB are each worker's flight recorder, twice while it is
recovered."""


class Disk:
    """The disk under `folder`. `pids`: the processes that write there, where it cannot be mounted."""

    def __init__(self, folder: Path, pids: Callable[[], Iterable[int]], *, mounts: bool = True) -> None:
        """`mounts` False: no file system is mounted, though it might be allowed."""
        self._folder = folder
        self._pids = pids
        self.is_mounted = mounts and _mounts(folder)
        self.is_full = False

    def fill(self, leave_bytes: int) -> None:
        """Leaves so many bytes free, or none at all where the limits of processes are all we have."""
        self.is_full = True
        if not self.is_mounted:
            self.press()
            return
        disk = os.statvfs(self._folder)
        size = disk.f_bavail * disk.f_frsize - leave_bytes
        descriptor = os.open(self._folder / _BALLAST, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            with suppress(OSError):  # others write at the same time
                os.posix_fallocate(descriptor, 0, max(size, 1))
        finally:
            os.close(descriptor)

    def press(self) -> None:
        """Where it is full by limits: those who came meanwhile have it full, too."""
        if self.is_full and not self.is_mounted:
            self._limit(0)

    def free(self) -> None:
        """There is room again."""
        self.is_full = False
        if self.is_mounted:
            (self._folder / _BALLAST).unlink(missing_ok=True)
        else:
            self._limit(resource.RLIM_INFINITY)

    def _limit(self, file_bytes: int) -> None:
        for pid in self._pids():
            with suppress(ProcessLookupError, PermissionError):
                _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (file_bytes, hard))

    def close(self) -> None:
        """Gives it back; nobody may use it any more."""
        if self.is_mounted:
            subprocess.run(["umount", "-l", self._folder], check=False, capture_output=True)


def _mounts(folder: Path) -> bool:
    command = ["mount", "-t", "tmpfs", "-o", f"size={_SIZE_MIB}m,mode=700", "chaos", str(folder)]
    try:
        return subprocess.run(command, check=False, capture_output=True).returncode == 0
    except FileNotFoundError:
        return False
