"""The database's outages: PostgreSQL is killed, stopped at once, or stopped in order; SQLite is locked for
long.

Owns the ways in which a database is away, and its coming back. Must not know what is in it.
"""

from __future__ import annotations

import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from race.postgresql import Server


class Outage(Protocol):
    """A database that can be taken away and given back."""

    stops: dict[str, int]

    @property
    def is_away(self) -> bool:
        """Whether it was taken away and not given back."""

    def begin(self, pick: float) -> bool:
        """It is away from here on; False where it could not be taken away just now."""

    def end(self) -> None:
        """It is there again."""


class PostgreSQLOutage:
    """Three ways, in turn."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.is_away = False
        self.stops: dict[str, int] = {}

    def begin(self, pick: float) -> bool:
        """`pick` decides nothing: the ways come in turn."""
        del pick
        ways: tuple[tuple[str, Callable[[], None]], ...] = (
            ("kill -9", self._server.kill),
            ("immediate", lambda: self._server.stop("immediate")),
            ("fast", lambda: self._server.stop("fast")),
        )
        name, stop = ways[sum(self.stops.values()) % len(ways)]
        self.stops[name] = self.stops.get(name, 0) + 1
        with suppress(subprocess.SubprocessError):  # a server that is just recovering takes no order
            stop()
        self.is_away = True
        return True

    def end(self) -> None:
        """Its crash recovery included."""
        self._server.start()
        self.is_away = False


class SQLiteOutage:
    """Somebody else holds the write lock."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self.stops: dict[str, int] = {}

    @property
    def is_away(self) -> bool:
        """Whether the lock is ours."""
        return self._connection is not None

    def begin(self, pick: float) -> bool:
        """Takes the lock, if it is to be had within a few seconds."""
        del pick
        connection = sqlite3.connect(self._path, timeout=3.0, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError:  # busy, or the disk is full
            connection.close()
            return False
        self.stops["locked"] = self.stops.get("locked", 0) + 1
        self._connection = connection
        return True

    def end(self) -> None:
        """Lets the lock go."""
        assert self._connection is not None
        self._connection.execute("ROLLBACK")
        self._connection.close()
        self._connection = None
