"""Death by SIGKILL at a chosen boundary: before the N-th step that changes anything outside this process.

Owns what counts as a step, and how a process is made to die there. A step is a system call that changes a
file or its name, made by our own code or by SQLite's, and a store into the flight recorder's mapped memory.
Our calls are reached by taking the place of the functions in `os`, SQLite's by its own switch for tests
(`xSetSystemCall` of its VFS), so nothing of what is run is another than in production. A step may also be
done in part: the first bytes of a write are there, and the process dies.

`fsync` is a step of ours, too, though no kill can tell before it from after it. SQLite's own is not reached.

Must not know what is run, nor what should be left of it.
"""

import _sqlite3
import ctypes
import mmap
import os
import signal
import struct
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proxy.flight import FlightRecorder

SHARED_BYTES = 32 * 1024
WORDS = 64
_NAME_AT = 8 * WORDS
_kill, _getpid = os.kill, os.getpid
_write = os.write


class Shared:
    """What a process tells of itself while it lives, readable when it is dead."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, SHARED_BYTES)

    def __getitem__(self, word: int) -> int:
        return int(struct.unpack_from("=Q", self._memory, 8 * word)[0])

    def __setitem__(self, word: int, value: int) -> None:
        struct.pack_into("=Q", self._memory, 8 * word, value)

    def write(self, text: str) -> None:
        """The last words: the step it died before, or all its steps, or a traceback."""
        data = text.encode()[-(len(self._memory) - _NAME_AT - 1) :]
        self._memory[_NAME_AT : _NAME_AT + len(data) + 1] = data + b"\0"

    def read(self) -> str:
        return self._memory[_NAME_AT:].split(b"\0")[0].decode()


STEPS = 0
"""The word of `Shared` that counts steps. The others are what is run's."""


@dataclass(frozen=True, slots=True)
class Death:
    """Before which step a process dies (0: never), and how much of that step is done all the same."""

    at: int = 0
    part: float = 0.0


class Boundaries:
    """Counts the steps of this process, and ends it at one. For a process of its own: it is never undone."""

    def __init__(self, death: Death, shared: Shared) -> None:
        self.death = death
        self.shared = shared
        self.names: list[str] = []
        self._kept: list[Any] = []  # what C holds pointers to

    def pass_by(self, name: str, in_part: Callable[[float], object] | None = None) -> None:
        """A step is about to be done."""
        self.shared[STEPS] += 1
        self.names.append(name)
        if self.shared[STEPS] == self.death.at:
            self.shared.write(name)
            if in_part is not None and self.death.part:
                in_part(self.death.part)
            _kill(_getpid(), signal.SIGKILL)

    def guard(self) -> None:
        """From here on, steps are counted."""
        self._guard_os()
        self._guard_paths()
        self._guard_mapped_memory()
        self._guard_sqlite()

    def _guard_os(self) -> None:
        for name in ("ftruncate", "truncate", "fsync", "rename", "replace", "unlink", "mkdir"):
            setattr(os, name, self._guarded(name, getattr(os, name)))
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate = self._guarded("posix_fallocate", os.posix_fallocate)
        writer = sys.modules["ledger.journal.writer"]
        vars(writer)["_sync_file"] = self._guarded("fdatasync", vars(writer)["_sync_file"])
        pwrite, whole_open = os.pwrite, os.open

        def guarded_write(descriptor: int, data: bytes) -> int:
            self.pass_by("write", lambda part: _write(descriptor, data[: int(len(data) * part)]))
            return _write(descriptor, data)

        def guarded_pwrite(descriptor: int, data: bytes, offset: int) -> int:
            self.pass_by("pwrite", lambda part: pwrite(descriptor, data[: int(len(data) * part)], offset))
            return pwrite(descriptor, data, offset)

        def guarded_open(path: Any, flags: int, *arguments: Any, **named: Any) -> int:
            if flags & (os.O_CREAT | os.O_TRUNC):
                self.pass_by("open")
            return whole_open(path, flags, *arguments, **named)

        os.write, os.pwrite, os.open = guarded_write, guarded_pwrite, guarded_open

    def _guarded(self, name: str, whole: Callable[..., Any]) -> Callable[..., Any]:
        def guarded(*arguments: Any, **named: Any) -> Any:
            self.pass_by(name)
            return whole(*arguments, **named)

        return guarded

    def _guard_paths(self) -> None:
        """Path writes in C what it opens; the same three calls, made where we see them."""

        def write_bytes(path: Path, data: bytes) -> int:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
            try:
                return os.write(descriptor, data)
            finally:
                os.close(descriptor)

        def write_text(path: Path, text: str, encoding: str | None = None) -> int:
            return write_bytes(path, text.encode(encoding or "utf-8"))

        Path.write_bytes, Path.write_text = write_bytes, write_text  # type: ignore[method-assign,assignment]

    def _guard_mapped_memory(self) -> None:
        whole_init = FlightRecorder.__init__

        def init(recorder: Any, *arguments: Any, **named: Any) -> None:
            whole_init(recorder, *arguments, **named)
            recorder._words = _Stores(self, recorder._words)
            recorder._map = _Stores(self, recorder._map)

        FlightRecorder.__init__ = init  # type: ignore[method-assign]

    def _guard_sqlite(self) -> None:
        library = ctypes.CDLL(_sqlite3.__file__)
        library.sqlite3_vfs_find.restype = ctypes.c_void_p
        vfs = _Vfs.from_address(library.sqlite3_vfs_find(None))
        for name, kind in _SQLITE_CALLS.items():
            pointer = vfs.xGetSystemCall(ctypes.addressof(vfs), name.encode())
            if not pointer:
                continue
            guarded = kind(self._guarded_sqlite(name, kind(pointer)))
            self._kept.append(guarded)
            address = ctypes.cast(guarded, ctypes.c_void_p)
            assert vfs.xSetSystemCall(ctypes.addressof(vfs), name.encode(), address) == 0

    def _guarded_sqlite(self, name: str, whole: Callable[..., int]) -> Callable[..., int]:
        def guarded(*arguments: Any) -> int:
            def in_part(part: float) -> None:
                if "write" in name:
                    descriptor, data, length, *offset = arguments
                    whole(descriptor, data, int(length * part), *offset)

            self.pass_by(f"SQLite {name}", in_part)
            return whole(*arguments)

        return guarded


class _Stores:
    """Mapped memory each store into which is a step."""

    def __init__(self, boundaries: Boundaries, memory: Any) -> None:
        self._boundaries = boundaries
        self._memory = memory

    def __setitem__(self, place: int | slice, value: Any) -> None:
        def in_part(part: float) -> None:
            assert isinstance(place, slice)
            length = int(len(value) * part)
            self._memory[place.start : place.start + length] = value[:length]

        if isinstance(place, slice):  # a copy: any number of its bytes may be there
            self._boundaries.pass_by("mapped write", in_part)
        else:
            self._boundaries.pass_by("mapped word")
        self._memory[place] = value

    def __len__(self) -> int:
        return len(self._memory)


_POINTER, _INT = ctypes.c_void_p, ctypes.c_int


class _Vfs(ctypes.Structure):
    """sqlite3_vfs of sqlite3.h, as far as it is needed here."""

    _fields_ = [
        *[(name, _INT) for name in ("iVersion", "szOsFile", "mxPathname")],
        *[(name, _POINTER) for name in ("pNext", "zName", "pAppData")],
        *[(name, _POINTER) for name in ("xOpen", "xDelete", "xAccess", "xFullPathname")],
        *[(name, _POINTER) for name in ("xDlOpen", "xDlError", "xDlSym", "xDlClose")],
        *[(name, _POINTER) for name in ("xRandomness", "xSleep", "xCurrentTime", "xGetLastError")],
        ("xCurrentTimeInt64", _POINTER),
        ("xSetSystemCall", ctypes.CFUNCTYPE(_INT, _POINTER, ctypes.c_char_p, _POINTER)),
        ("xGetSystemCall", ctypes.CFUNCTYPE(_POINTER, _POINTER, ctypes.c_char_p)),
    ]


def _call(result: Any, *arguments: Any) -> Any:
    return ctypes.CFUNCTYPE(result, *arguments, use_errno=True)


_SQLITE_CALLS: dict[str, Any] = {
    "write": _call(ctypes.c_ssize_t, _INT, _POINTER, ctypes.c_size_t),
    "pwrite": _call(ctypes.c_ssize_t, _INT, _POINTER, ctypes.c_size_t, ctypes.c_int64),
    "pwrite64": _call(ctypes.c_ssize_t, _INT, _POINTER, ctypes.c_size_t, ctypes.c_int64),
    "ftruncate": _call(_INT, _INT, ctypes.c_int64),
    "unlink": _call(_INT, ctypes.c_char_p),
}
"""What changes a file. Its stores into the index of the WAL are between two of its locks: they are reached by
dying at those (`fcntl`), where the machine passes a variable argument like any other."""
if sys.platform == "linux":
    _SQLITE_CALLS["fcntl"] = _call(_INT, _INT, _INT, _POINTER)


def run(
    work: Callable[[Shared], None], death: Death, meanwhile: Callable[[int], None] = lambda child: None
) -> tuple[bool, Shared]:
    """Runs `work` in a process of its own that dies so; whether it came to its end, and what it told.
    `meanwhile` is done here, and gets its process id.

    Raises AssertionError with its traceback where it failed by itself.
    """
    shared = Shared()
    child = os.fork()
    if child == 0:
        try:
            boundaries = Boundaries(death, shared)
            boundaries.guard()
            work(shared)
            shared.write("\n".join(boundaries.names))
            os._exit(0)
        except BaseException:
            shared.write(traceback.format_exc())
            os._exit(1)
    meanwhile(child)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL, status
        return False, shared
    assert os.WEXITSTATUS(status) == 0, shared.read()
    return True, shared
