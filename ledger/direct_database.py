"""The ledger's database as the data plane has it: transactions and looks straight to the driver.

What a worker and a poster do all the time, without SQLAlchemy: importing that takes most of a second of a
slow host's start and 25 MiB, and a read through it costs ten times its statements. Who needs sessions and
tables has ledger/database.py, which is one of these, too. Rules:

- `look` sees one snapshot and changes nothing; `transact` is one transaction, whole or not at all.
- On SQLite each has a thread with a connection of its own, so that readers never wait for the writer.
- `sign` tells without either whether anything was committed (ledger/commit_sign.py).
- Failures of the database come out as ledger.errors.DatabaseFault; what the caller raises inside passes
  through as it is.

It knows nothing of what is read and written, but for the schema's version.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

from ledger import database_url, patience, schema
from ledger.commit_sign import CommitSign
from ledger.direct import Connection, OnPostgresql, SqliteThread
from ledger.errors import DatabaseFault, DatabaseUnavailable, DatabaseUnusable, SchemaBehind
from ledger.postgresql_pool import AllInUse, PostgresqlPool

SQLITE_VERSION_MIN: Final = (3, 35, 0)  # RETURNING
POOL_SIZE: Final = 5
PRAGMAS: Final = ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON")

T = TypeVar("T")
Work = Callable[[Connection], Coroutine[Any, Any, T]]

# Messages of SQLite that will not go away by themselves, and of PostgreSQL.
_UNUSABLE: Final = ("not a database", "unable to open", "readonly", "malformed", "authorization denied")
_REFUSED: Final = ("password authentication", "does not exist", "permission denied")

NOT_OURS: Final = ("42501", "42P01", "42703", "3F000")
"""PostgreSQL's states that look like miswritten statements, and are the database's: no permission, no such
table, column or schema.
"""


class DirectDatabase:
    """One ledger database. Make it inside the event loop that uses it, and close it there."""

    def __init__(self, url: str, *, pool_size: int = POOL_SIZE) -> None:
        """`url` is sqlite:///relative/path, sqlite:////absolute/path or postgresql://...; connects on first
        use, `pool_size` times at most; who comes after that waits, and for POOL_WAIT_S at most.

        Raises DatabaseUnusable for a URL of another kind.
        """
        where = database_url.parse(url)
        self.is_sqlite: Final = where.sqlite_path is not None
        self.pool_size: Final = pool_size
        self.shown_url: Final = where.shown
        """With its password hidden, for logs and messages."""
        self._path: Final = where.sqlite_path or ""
        if self.is_sqlite and sqlite3.sqlite_version_info < SQLITE_VERSION_MIN:
            raise DatabaseUnusable(
                f"this Python has SQLite {sqlite3.sqlite_version}; metergate needs 3.35 or newer"
            )
        # SQLite has one writer: waiting here is fair and quick, waiting in SQLite's busy handler is neither.
        self._writer_turn = asyncio.Lock()
        self._thread = SqliteThread(self._path, patience.SQLITE_BUSY_S, PRAGMAS)
        self._looking = SqliteThread(self._path, patience.SQLITE_BUSY_S, (*PRAGMAS, "query_only = ON"))
        self._commits = CommitSign(self._path)
        self._pool = PostgresqlPool(where.connect, pool_size)

    async def transact(self, work: Work[T]) -> T:
        """One transaction: committed at the end, rolled back if anything is raised. `work` may wait for
        nothing but its connection: see ledger/direct.py. Raises DatabaseFault.
        """
        if self.is_sqlite:
            with_turn = self._writer_turn
            async with with_turn:
                return await self._in_thread(self._thread, "BEGIN IMMEDIATE", work)
        async with self._connected() as driver, driver.transaction():
            return await work(OnPostgresql(driver))

    async def look(self, work: Work[T]) -> T:
        """What `work` reads on one snapshot; on a second one where the first's connection turned out to be
        broken. `work` waits for nothing but its connection. Raises DatabaseFault.
        """
        if self.is_sqlite:
            return await self._in_thread(self._looking, "BEGIN", work)
        driver: Any = None
        try:
            async with self._connected() as driver:
                return await self._snapshot(driver, work)
        except DatabaseUnavailable:
            if driver is None or not driver.is_closed():
                raise
        async with self._connected() as driver:
            return await self._snapshot(driver, work)

    def sign(self) -> object:
        """What is another one once anything was committed, told at once; None where only asking tells."""
        return self._commits.read() if self.is_sqlite else None

    async def check(self) -> None:
        """Raises SchemaBehind or SchemaAhead unless the schema is this code's, and DatabaseFault as ever."""
        schema.check(await self.revision())

    async def revision(self) -> str | None:
        """The revision the database is at; None when it holds no ledger yet. Raises DatabaseFault."""
        self._check_file()
        return await self.look(schema.current_revision)

    async def close(self) -> None:
        """Closes every connection."""
        await self._thread.close()
        await self._looking.close()
        self._commits.close()
        await self._pool.close()

    def fault(self, error: BaseException) -> DatabaseFault:
        """The fault that a failure of the driver is, in one line."""
        reason = str(getattr(error, "orig", None) or error).strip() or type(error).__name__
        line = f"the ledger database {self.shown_url}: {reason.splitlines()[0]}"
        if self.is_sqlite and any(words in reason for words in _UNUSABLE):
            return DatabaseUnusable(line)
        if any(words in line for words in _REFUSED):
            return DatabaseUnusable(line)
        return DatabaseUnavailable(line)

    def all_in_use(self) -> DatabaseFault:
        """The fault of one who got no connection in time."""
        return self.fault(
            AllInUse(f"all {self.pool_size} connections are in use (METERGATE_DATABASE_POOL_SIZE)")
        )

    async def _in_thread(self, thread: SqliteThread, begin: str, work: Work[T]) -> T:
        try:
            return await thread.transact(work, begin)
        except (sqlite3.OperationalError, sqlite3.DatabaseError) as error:
            if isinstance(error, sqlite3.IntegrityError | sqlite3.ProgrammingError):
                raise
            raise self.fault(error) from error

    async def _snapshot(self, driver: Any, work: Work[T]) -> T:
        async with driver.transaction(isolation="repeatable_read", readonly=True):
            return await work(OnPostgresql(driver))

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[Any]:
        """A connection of asyncpg's, whose failures are faults."""
        try:
            async with self._pool.connection() as driver:
                yield driver
        except AllInUse:
            raise self.all_in_use() from None
        except (TimeoutError, ConnectionError) as error:
            raise self.fault(ConnectionError("the server does not answer")) from error
        except OSError as error:
            raise self.fault(error) from error
        except Exception as error:
            if is_drivers(error):
                raise self.fault(error) from error
            raise

    def _check_file(self) -> None:
        """Connecting would make an empty file where a wrong path was given."""
        if self.is_sqlite and not Path(self._path).exists():
            raise SchemaBehind(f"there is no ledger at {self._path} yet: run `metergate db upgrade`")


def is_drivers(error: Exception) -> bool:
    """asyncpg's own errors, but for those of a statement."""
    state: str | None = getattr(error, "sqlstate", None)
    is_callers = state is not None and state[:2] in ("22", "23", "42") and state not in NOT_OURS
    return type(error).__module__.startswith("asyncpg") and not is_callers
