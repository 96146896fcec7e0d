"""The database with sessions and tables: SQLAlchemy's engine, and what each kind of database
needs to be told.

The control plane's, the commands' and the migrations'. The data plane does with ledger/direct_database.py, of
which this is one.

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
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, event
from sqlalchemy.engine import URL, ExceptionContext, make_url
from sqlalchemy.exc import DBAPIError, DisconnectionError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, create_async_engine

from ledger import patience, schema
from ledger.direct_database import NOT_OURS, POOL_SIZE, PRAGMAS, DirectDatabase
from ledger.errors import DatabaseFault, DatabaseUnusable

END_S: Final = 5.0  # how long who is cancelled waits for its commit or rollback

_WRITES: Final = "metergate_writes"


class Database(DirectDatabase):
    """One ledger database, with sessions. Make it inside the event loop that uses it, and close it there."""

    def __init__(self, url: str, *, pool_size: int = POOL_SIZE) -> None:
        """As a DirectDatabase; sessions and what goes straight to the driver have `pool_size` connections
        each.
        """
        super().__init__(url, pool_size=pool_size)
        self.url = async_url(url)
        make_engine = _sqlite_engine if self.is_sqlite else _postgresql_engine
        self._engine = make_engine(self.url, pool_size)
        self._reading = self._engine.execution_options(**_read_options(self.is_sqlite))
        self._writing = self._engine.execution_options(**{_WRITES: True})

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        """A session that sees one snapshot and keeps nothing. Raises DatabaseFault."""
        async with self._session(self._reading) as session:
            yield session

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncSession]:
        """One transaction: committed at the end, rolled back if anything is raised. Raises DatabaseFault."""
        if self.is_sqlite:
            async with self._writer_turn, self._session(self._writing, commit=True) as session:
                yield session
        else:
            async with self._session(self._writing, commit=True) as session:
                yield session

    async def revision(self) -> str | None:
        """The revision the database is at; None when it holds no ledger yet. Raises DatabaseFault."""
        self._check_file()  # in a session: who has those needs no further connections
        async with self.read() as session:
            return await schema.current_revision(await session.connection())

    async def upgrade(self) -> None:
        """Bring the schema to this code's head, creating the SQLite file and its folder. Raises
        DatabaseFault.
        """
        self._make_folder()
        async with self.write() as session:
            connection = await session.connection()
            await schema.lock(connection)
            await connection.run_sync(schema.upgrade, await schema.current_revision(connection))

    async def downgrade(self, revision: str) -> None:
        """Take migrations back; "base" takes all. Raises DatabaseFault."""
        self._make_folder()
        async with self.write() as session:
            await (await session.connection()).run_sync(schema.downgrade, revision)

    async def close(self) -> None:
        """Close every connection."""
        await super().close()
        await self._engine.dispose()

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

    def _make_folder(self) -> None:
        if self.is_sqlite and self.url.database:
            try:
                Path(self.url.database).parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise DatabaseUnusable(f"no folder for {self.shown_url}: {error.strerror}") from error

    def _fault(self, error: BaseException) -> DatabaseFault:
        return self.all_in_use() if isinstance(error, PoolTimeout) else self.fault(error)


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
    """A URL that `ledger.database_url` takes, with the async driver that we use."""
    parsed = make_url(url)
    is_sqlite = parsed.get_backend_name() == "sqlite"
    return parsed.set(drivername="sqlite+aiosqlite" if is_sqlite else "postgresql+asyncpg")


def _is_callers(error: BaseException) -> bool:
    """Errors of a statement rather than of the database: a broken constraint is for who wrote the
    statement.
    """
    if not isinstance(error, DBAPIError) or getattr(error.orig, "sqlstate", None) in NOT_OURS:
        return False
    return type(error).__name__ in ("IntegrityError", "ProgrammingError", "DataError")


def _read_options(is_sqlite: bool) -> dict[str, Any]:
    return {} if is_sqlite else {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}


def _sqlite_engine(url: URL, pool_size: int) -> AsyncEngine:
    # isolation_level None: the driver begins nothing by itself, the begin event below does.
    engine = create_async_engine(
        url,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=patience.POOL_WAIT_S,
        connect_args={"timeout": patience.SQLITE_BUSY_S, "isolation_level": None},
    )

    @event.listens_for(engine.sync_engine, "connect")
    def _prepare(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        for pragma in PRAGMAS:
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
        pool_timeout=patience.POOL_WAIT_S,
        connect_args={
            "timeout": patience.CONNECT_S,
            "command_timeout": patience.COMMAND_MS / 1000,
            "server_settings": patience.server_settings(),
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
