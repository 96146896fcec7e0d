"""Statements straight to the driver: for transactions that are made all the time and must cost little.

Owns two connections that take what SQLAlchemy's `exec_driver_sql` takes and give back what of its result is
needed here; ledger/direct_database.py has them. Knows nothing of what is read and written. Rules:

- SQLite: a transaction is one step of a thread that has nothing else to do. A statement by way of the pool is
  four switches between two threads, an exchange of leases some thirty: 5 ms of CPU, and on a loop that is
  busy to the last thirty turns of it, which is how an answer comes a second late.
- So `work` waits for nothing but the connection that it is handed, which answers at once.
- PostgreSQL: asyncpg's own calls on a connection of the pool.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, Protocol, TypeVar

T = TypeVar("T")


class Dialect(Protocol):
    """Which database it is."""

    @property
    def name(self) -> str: ...


class Result(Protocol):
    """What a statement returned."""

    def __iter__(self) -> Iterator[Any]: ...
    def all(self) -> Sequence[Any]: ...
    def scalar_one(self) -> Any: ...
    def scalar_one_or_none(self) -> Any: ...
    @property
    def rowcount(self) -> int: ...


class Connection(Protocol):
    """What runs a statement: one of these, or SQLAlchemy's AsyncConnection."""

    @property
    def dialect(self) -> Dialect: ...
    async def exec_driver_sql(self, statement: str, parameters: Any = None, /) -> Result: ...


class Rows:
    """The rows that a statement returned. `rowcount` is how many those are: what only changes has none, but
    for a statement over a list on SQLite, which tells how many rows it changed.
    """

    __slots__ = ("_rows", "rowcount")

    def __init__(self, rows: Sequence[Any], rowcount: int | None = None) -> None:
        self._rows = rows
        self.rowcount: Final = len(rows) if rowcount is None else rowcount

    def __iter__(self) -> Iterator[Any]:
        return iter(self._rows)

    def all(self) -> Sequence[Any]:
        """All of them."""
        return self._rows

    def scalar_one(self) -> Any:
        """The first column of the only row."""
        ((value, *_),) = self._rows
        return value

    def scalar_one_or_none(self) -> Any:
        """The first column of the only row; None where there is no row."""
        assert len(self._rows) <= 1, self._rows
        return self._rows[0][0] if self._rows else None


class _Named:
    def __init__(self, name: str) -> None:
        self.name = name


class _OnSqlite:
    """A connection that answers at once."""

    dialect: Final = _Named("sqlite")

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    async def exec_driver_sql(self, statement: str, parameters: Any = (), /) -> Rows:
        """Runs one statement; with a list of parameters, once for each."""
        if isinstance(parameters, list):
            return Rows((), self._connection.executemany(statement, parameters).rowcount)
        return Rows(self._connection.execute(statement, parameters).fetchall())


class OnPostgresql:
    """asyncpg's connection, with a transaction under way."""

    dialect: Final = _Named("postgresql")

    def __init__(self, driver: Any) -> None:
        self._driver = driver

    async def exec_driver_sql(self, statement: str, parameters: Any = (), /) -> Rows:
        """Runs one statement."""
        return Rows(await self._driver.fetch(statement, *parameters))


class SqliteThread:
    """One connection to a file, in a thread of its own; opened when it is first used.

    `prepare`: what a connection is told before anything else.
    """

    def __init__(self, path: str, busy_s: float, prepare: Sequence[str]) -> None:
        self._path = path
        self._busy_s = busy_s
        self._prepare = prepare
        self._thread: ThreadPoolExecutor | None = None
        self._connection: sqlite3.Connection | None = None

    async def transact(
        self, work: Callable[[Connection], Coroutine[Any, Any, T]], begin: str = "BEGIN IMMEDIATE"
    ) -> T:
        """One transaction, begun as `begin` says, rolled back if `work` raises. Raises sqlite3.Error."""
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "metergate-sqlite")
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._transact, work, begin)

    async def close(self) -> None:
        """Waits for what is under way."""
        if self._thread is not None:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._drop)
            self._thread.shutdown()
            self._thread = None

    def _transact(self, work: Callable[[Connection], Coroutine[Any, Any, T]], begin: str) -> T:
        if self._connection is None:
            self._connection = self._open()
        connection = self._connection
        try:
            connection.execute(begin)
            done = _to_its_end(work(_OnSqlite(connection)))
            connection.execute("COMMIT")
        except BaseException:
            self._undo(connection)
            raise
        return done

    def _undo(self, connection: sqlite3.Connection) -> None:
        try:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        except sqlite3.Error:
            self._drop()

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=self._busy_s, isolation_level=None)
        for pragma in self._prepare:
            connection.execute(f"PRAGMA {pragma}")
        return connection

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _to_its_end(work: Coroutine[Any, Any, T]) -> T:
    """What a coroutine returns that never has to wait."""
    try:
        work.send(None)
    except StopIteration as end:
        value: T = end.value
        return value
    work.close()
    raise RuntimeError("a transaction in SQLite's thread waited for something else")


def is_broken_constraint(error: Exception) -> bool:
    """Whether a statement met a constraint, whichever of the drivers says so."""
    state: str | None = getattr(error, "sqlstate", None)
    return type(error).__name__ == "IntegrityError" or (state is not None and state.startswith("23"))
