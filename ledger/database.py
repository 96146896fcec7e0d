"""The database: engine, sessions, and what each kind of database needs to be told.

SQLite is the embedded one: WAL, so that readers never wait for the writer; foreign keys on; writers begin
with BEGIN IMMEDIATE, so that two never deadlock on an upgrade of their locks; synchronous=FULL, since the
journal lets go of a record once its transaction is committed, and a commit that a power cut takes back would
lose it.

PostgreSQL is the production one: every statement and every wait for a lock has its limit, reads are read-only
and see one snapshot, as they do on SQLite.

It knows nothing of what is read and written. Failures of the database come out as
ledger.errors.DatabaseFault; what the caller raises inside passes through as it is.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from ledger import schema
from ledger.errors import DatabaseFault, DatabaseUnavailable, DatabaseUnusable, SchemaBehind

SQLITE_VERSION_MIN: Final = (3, 35, 0)  # RETURNING
SQLITE_BUSY_S: Final = 5.0
CONNECT_S: Final = 5.0
LOCK_MS: Final = 5_000
STATEMENT_MS: Final = 30_000
IDLE_TRANSACTION_MS: Final = (
    300_000  # an export to a slow reader holds its snapshot this long between two pages
)
POOL_WAIT_S: Final = 10.0

_WRITES: Final = "metergate_writes"

# Messages of SQLite that will not go away by themselves.
_UNUSABLE: Final = ("not a database", "unable to open", "readonly", "malformed", "authorization denied")


class Database:
    """One ledger database. Make it inside the event loop that uses it, and close it there."""

    def __init__(self, url: str, *, pool_size: int = 5) -> None:
        """`url` is sqlite:///relative/path, sqlite:////absolute/path or postgresql://...; connects on first
        use.

        Raises DatabaseUnusable for a URL of another kind.
        """
        self.url = async_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self._engine = _sqlite_engine(self.url) if self.is_sqlite else _postgresql_engine(self.url, pool_size)
        self._reading = self._engine.execution_options(**_read_options(self.is_sqlite))
        self._writing = self._engine.execution_options(**{_WRITES: True})
        # SQLite has one writer: waiting here is fair and quick, waiting in SQLite's busy handler is neither.
        self._writer_turn = asyncio.Lock()

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
        await self._engine.dispose()

    @property
    def shown_url(self) -> str:
        """The URL with its password hidden, for logs and messages."""
        return self.url.render_as_string(hide_password=True)

    @asynccontextmanager
    async def _session(self, engine: AsyncEngine, *, commit: bool = False) -> AsyncIterator[AsyncSession]:
        session = AsyncSession(engine, expire_on_commit=False)
        try:
            try:
                await session.connection()
            except (SQLAlchemyError, OSError) as error:
                raise self._fault(error) from error
            except Exception as error:
                # asyncpg's own errors while connecting (wrong password, starting up) reach us unwrapped.
                if type(error).__module__.startswith("asyncpg"):
                    raise self._fault(error) from error
                raise
            try:
                yield session
                if commit:
                    await session.commit()
            except (DBAPIError, PoolTimeout) as error:
                if _is_callers(error):
                    raise
                raise self._fault(error) from error
        finally:
            await session.close()

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
        line = f"the ledger database {self.shown_url}: {reason.splitlines()[0]}"
        if self.is_sqlite and any(words in reason for words in _UNUSABLE):
            return DatabaseUnusable(line)
        if any(words in line for words in ("password authentication", "does not exist", "permission denied")):
            return DatabaseUnusable(line)
        return DatabaseUnavailable(line)


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
    return isinstance(error, DBAPIError) and type(error).__name__ in (
        "IntegrityError",
        "ProgrammingError",
        "DataError",
    )


def _read_options(is_sqlite: bool) -> dict[str, Any]:
    return {} if is_sqlite else {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}


def _sqlite_engine(url: URL) -> AsyncEngine:
    if sqlite3.sqlite_version_info < SQLITE_VERSION_MIN:
        raise DatabaseUnusable(
            f"this Python has SQLite {sqlite3.sqlite_version}; metergate needs 3.35 or newer"
        )
    # isolation_level None: the driver begins nothing by itself, the begin event below does.
    engine = create_async_engine(url, connect_args={"timeout": SQLITE_BUSY_S, "isolation_level": None})

    @event.listens_for(engine.sync_engine, "connect")
    def _prepare(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def _begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get(_WRITES)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _postgresql_engine(url: URL, pool_size: int) -> AsyncEngine:
    return create_async_engine(
        url,
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_timeout=POOL_WAIT_S,
        pool_pre_ping=True,
        connect_args={
            "timeout": CONNECT_S,
            "command_timeout": 2
            * STATEMENT_MS
            / 1000,  # the network's limit, where the server's own cannot reach us
            "server_settings": {
                "application_name": "metergate",
                "timezone": "UTC",
                "lock_timeout": str(LOCK_MS),
                "statement_timeout": str(STATEMENT_MS),
                "idle_in_transaction_session_timeout": str(IDLE_TRANSACTION_MS),
            },
        },
    )
