"""The database: engine, sessions, and what each kind of database needs to be told.

SQLite is the embedded one: WAL, so that readers never wait for the writer; foreign keys on; writers begin
with BEGIN IMMEDIATE, so that two never deadlock on an upgrade of their locks; synchronous=FULL, since the
journal lets go of a record once its transaction is committed, and a commit that a power cut takes back would
lose it.

PostgreSQL is the production one: connections are bounded, every statement and every wait for a lock has its
limit, reads are read-only and see one snapshot, as they do on SQLite. A pooled connection is asked whether it
still stands when it is taken, not the server: asyncpg knows of a close as soon as the event loop does, and a
ping would cost each session three round trips (a fifth to a third of a short read, measured).

It knows nothing of what is read and written. Failures of the database come out as
ledger.errors.DatabaseFault; what the caller raises inside passes through as it is.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, event
from sqlalchemy.engine import URL, ExceptionContext, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, DisconnectionError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, create_async_engine

from ledger import schema
from ledger.direct import Connection as Direct
from ledger.direct import OnPostgresql, SqliteThread
from ledger.errors import DatabaseFault, DatabaseUnavailable, DatabaseUnusable, SchemaBehind

SQLITE_VERSION_MIN: Final = (3, 35, 0)  # RETURNING
SQLITE_BUSY_S: Final = 5.0
CONNECT_S: Final = 5.0
LOCK_MS: Final = 5_000
STATEMENT_MS: Final = 30_000
IDLE_TRANSACTION_MS: Final = (
    300_000  # an export to a slow reader holds its snapshot this long between two pages
)
COMMAND_MS: Final = 2 * STATEMENT_MS  # the network's limit, where the server's own cannot reach us
END_S: Final = 5.0  # how long who is cancelled waits for its commit or rollback
POOL_WAIT_S: Final = 10.0
POOL_SIZE: Final = 5

T = TypeVar("T")

_WRITES: Final = "metergate_writes"
_PRAGMAS: Final = ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON")

# Messages of SQLite that will not go away by themselves.
_UNUSABLE: Final = ("not a database", "unable to open", "readonly", "malformed", "authorization denied")

# PostgreSQL's states that SQLAlchemy takes for miswritten statements, and that are the database's: no
# permission, no such table, column or schema.
_NOT_OURS: Final = ("42501", "42P01", "42703", "3F000")


class Database:
    """One ledger database. Make it inside the event loop that uses it, and close it there."""

    def __init__(self, url: str, *, pool_size: int = POOL_SIZE) -> None:
        """`url` is sqlite:///relative/path, sqlite:////absolute/path or postgresql://...; connects on first
        use, `pool_size` times at most; who comes after that waits, and for POOL_WAIT_S at most.

        Raises DatabaseUnusable for a URL of another kind.
        """
        self.url = async_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self.pool_size = pool_size
        make_engine = _sqlite_engine if self.is_sqlite else _postgresql_engine
        self._engine = make_engine(self.url, pool_size)
        self._reading = self._engine.execution_options(**_read_options(self.is_sqlite))
        self._writing = self._engine.execution_options(**{_WRITES: True})
        # SQLite has one writer: waiting here is fair and quick, waiting in SQLite's busy handler is neither.
        self._writer_turn = asyncio.Lock()
        self._thread = SqliteThread(self.url.database or "", SQLITE_BUSY_S, _PRAGMAS)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        """A session that sees one snapshot and keeps nothing. Raises DatabaseFault."""
        async with self._session(self._reading) as session:
            yield session

    async def ask(self, work: Callable[[AsyncSession], Awaitable[T]]) -> T:
        """What `work` reads on one snapshot; on a second one where the first's connection turned out broken.

        Raises DatabaseFault.
        """
        try:
            async with self.read() as session:
                return await work(session)
        except DatabaseUnavailable as fault:
            cause = fault.__cause__
            if not (isinstance(cause, DBAPIError) and cause.connection_invalidated):
                raise
        async with self.read() as session:
            return await work(session)

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncSession]:
        """One transaction: committed at the end, rolled back if anything is raised. Raises DatabaseFault."""
        if self.is_sqlite:
            async with self._writer_turn, self._session(self._writing, commit=True) as session:
                yield session
        else:
            async with self._session(self._writing, commit=True) as session:
                yield session

    async def transact(self, work: Callable[[Direct], Coroutine[Any, Any, T]]) -> T:
        """One transaction like `write`'s that costs little: see ledger/direct.py. `work` may wait for nothing
        but its connection. Raises DatabaseFault.
        """
        if self.is_sqlite:
            try:
                async with self._writer_turn:
                    return await self._thread.transact(work)
            except (sqlite3.OperationalError, sqlite3.DatabaseError) as error:
                if isinstance(error, sqlite3.IntegrityError | sqlite3.ProgrammingError):
                    raise
                raise self._fault(error) from error
        try:
            async with self._writing.connect() as connection:
                driver: Any = (await connection.get_raw_connection()).driver_connection
                try:
                    async with driver.transaction():
                        return await work(OnPostgresql(driver))
                except (OSError, asyncio.CancelledError):
                    await connection.invalidate()  # nobody knows what is still under way on it
                    raise
        except (SQLAlchemyError, OSError, _Silent) as error:
            raise self._fault(error) from error
        except Exception as error:
            if _is_drivers(error):
                raise self._fault(error) from error
            raise

    async def upgrade(self) -> None:
        """Bring the schema to this code's head, creating the SQLite file and its folder. Raises
        DatabaseFault.
        """
        await self._migrate(schema.upgrade, "head")

    async def downgrade(self, revision: str) -> None:
        """Take migrations back; "base" takes all. Raises DatabaseFault."""
        await self._migrate(schema.downgrade, revision)

    async def check(self) -> None:
        """Raises SchemaBehind or SchemaAhead unless the schema is this code's, and DatabaseFault as ever."""
        schema.check(await self.revision())

    async def revision(self) -> str | None:
        """The revision the database is at; None when it holds no ledger yet. Raises DatabaseFault."""
        self._check_file()
        async with self.read() as session:
            return await (await session.connection()).run_sync(schema.current_revision)

    async def close(self) -> None:
        """Close every connection."""
        await self._thread.close()
        await self._engine.dispose()

    @property
    def shown_url(self) -> str:
        """The URL with its password hidden, for logs and messages."""
        return self.url.render_as_string(hide_password=True)

    @asynccontextmanager
    async def _session(self, engine: AsyncEngine, *, commit: bool = False) -> AsyncIterator[AsyncSession]:
        session = AsyncSession(engine, expire_on_commit=False)
        connection: AsyncConnection | None = None
        try:
            try:
                connection = await session.connection()
            except (SQLAlchemyError, OSError, _Silent) as error:
                raise self._fault(error) from error
            except Exception as error:
                # asyncpg's own errors while connecting (wrong password, starting up) reach us unwrapped.
                if type(error).__module__.startswith("asyncpg"):
                    raise self._fault(error) from error
                raise
            try:
                yield session
                if commit:
                    await _to_the_end(session.commit())
            except (DBAPIError, PoolTimeout, _Silent) as error:
                if _is_callers(error):
                    raise
                raise self._fault(error) from error
        finally:
            await self._end(session, connection)

    async def _end(self, session: AsyncSession, connection: AsyncConnection | None) -> None:
        """Gives the connection back. One that broke with a statement under way cannot even be rolled back: it
        goes to no one else. Raises DatabaseFault.
        """
        try:
            await _to_the_end(session.close())
        except (SQLAlchemyError, OSError, _Silent) as error:
            if connection is not None:
                with suppress(SQLAlchemyError, OSError, _Silent):
                    await connection.invalidate()
            raise self._fault(error) from error

    async def _migrate(self, step: Any, revision: str) -> None:
        self._make_folder()
        async with self.write() as session:
            await (await session.connection()).run_sync(step, revision)

    def _check_file(self) -> None:
        """Connecting would make an empty file where a wrong path was given."""
        if self.is_sqlite and self.url.database and not Path(self.url.database).exists():
            raise SchemaBehind(f"there is no ledger at {self.url.database} yet: run `metergate db upgrade`")

    def _make_folder(self) -> None:
        if self.is_sqlite and self.url.database:
            try:
                Path(self.url.database).parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise DatabaseUnusable(f"no folder for {self.shown_url}: {error.strerror}") from error

    def _fault(self, error: BaseException) -> DatabaseFault:
        reason = str(getattr(error, "orig", None) or error).strip() or type(error).__name__
        if isinstance(error, PoolTimeout):
            reason = f"all {self.pool_size} connections are in use (METERGATE_DATABASE_POOL_SIZE)"
        line = f"the ledger database {self.shown_url}: {reason.splitlines()[0]}"
        if self.is_sqlite and any(words in reason for words in _UNUSABLE):
            return DatabaseUnusable(line)
        if any(words in line for words in ("password authentication", "does not exist", "permission denied")):
            return DatabaseUnusable(line)
        return DatabaseUnavailable(line)


async def _to_the_end(work: Coroutine[Any, Any, None]) -> None:
    """Runs `work` whole; a cancellation that comes meanwhile is raised after it. A connection whose commit or
    rollback is cut off is lost, with a traceback of the pool's.
    """
    working = asyncio.ensure_future(work)
    try:
        await asyncio.shield(working)
    except asyncio.CancelledError:
        await asyncio.wait([working], timeout=END_S)
        working.cancel()
        raise


class _Silent(Exception):
    """The server has not answered, or the network said that it will not."""


def async_url(url: str) -> URL:
    """The URL with the async driver that we use. Raises DatabaseUnusable for what is neither SQLite nor
    PostgreSQL.
    """
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise DatabaseUnusable(
            "METERGATE_DATABASE_URL is no URL: write sqlite:///path or postgresql://..."
        ) from None
    backend = parsed.get_backend_name()
    if backend in ("postgresql", "postgres"):
        return parsed.set(drivername="postgresql+asyncpg")
    if backend == "sqlite" and parsed.database not in (None, "", ":memory:"):
        return parsed.set(drivername="sqlite+aiosqlite")
    raise DatabaseUnusable("METERGATE_DATABASE_URL must be sqlite:///path or postgresql://...")


def _is_callers(error: BaseException) -> bool:
    """Errors of a statement rather than of the database: a broken constraint is for who wrote the
    statement.
    """
    if not isinstance(error, DBAPIError) or getattr(error.orig, "sqlstate", None) in _NOT_OURS:
        return False
    return type(error).__name__ in ("IntegrityError", "ProgrammingError", "DataError")


def _is_drivers(error: Exception) -> bool:
    """asyncpg's own errors, but for those of a statement."""
    state: str | None = getattr(error, "sqlstate", None)
    is_callers = state is not None and state[:2] in ("22", "23", "42") and state not in _NOT_OURS
    return type(error).__module__.startswith("asyncpg") and not is_callers


def _read_options(is_sqlite: bool) -> dict[str, Any]:
    return {} if is_sqlite else {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}


def _sqlite_engine(url: URL, pool_size: int) -> AsyncEngine:
    if sqlite3.sqlite_version_info < SQLITE_VERSION_MIN:
        raise DatabaseUnusable(
            f"this Python has SQLite {sqlite3.sqlite_version}; metergate needs 3.35 or newer"
        )
    # isolation_level None: the driver begins nothing by itself, the begin event below does.
    engine = create_async_engine(
        url,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=POOL_WAIT_S,
        connect_args={"timeout": SQLITE_BUSY_S, "isolation_level": None},
    )

    @event.listens_for(engine.sync_engine, "connect")
    def _prepare(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        for pragma in _PRAGMAS:
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def _begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get(_WRITES)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _postgresql_engine(url: URL, pool_size: int) -> AsyncEngine:
    engine = create_async_engine(
        url,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=POOL_WAIT_S,
        connect_args={
            "timeout": CONNECT_S,
            "command_timeout": COMMAND_MS / 1000,
            "server_settings": {
                "application_name": "metergate",
                "timezone": "UTC",
                "lock_timeout": str(LOCK_MS),
                "statement_timeout": str(STATEMENT_MS),
                "idle_in_transaction_session_timeout": str(IDLE_TRANSACTION_MS),
            },
        },
    )

    @event.listens_for(engine.sync_engine, "checkout")
    def _refuse_closed(connection: Any, _record: Any, _proxy: Any) -> None:
        if connection.driver_connection.is_closed():
            raise DisconnectionError  # the pool connects anew

    @event.listens_for(engine.sync_engine, "handle_error")
    def _say_silence(context: ExceptionContext) -> None:
        """The driver lets these through as they are, where they could be the caller's own."""
        if isinstance(context.original_exception, TimeoutError | ConnectionError):
            context.is_disconnect = True
            raise _Silent("the server does not answer") from context.original_exception

    return engine
