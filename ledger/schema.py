"""The schema's version: which migrations exist, where a database stands, and bringing it to the head.

Migrations are numbered files in the package `migrations`, applied in process: users need no alembic.ini and
no second tool. Alembic is imported only when there is something to apply, and SQLAlchemy never by a look:
each costs a start most of a second on a slow host.
"""

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from ledger.direct import Connection
from ledger.errors import SchemaAhead, SchemaBehind

if TYPE_CHECKING:
    from sqlalchemy import Connection as SyncConnection

_IS_THERE = {
    "sqlite": "SELECT count(*) FROM sqlite_master WHERE name = 'alembic_version'",
    "postgresql": "SELECT count(to_regclass('alembic_version'))",
}

UPGRADE_LOCK = 0x6D67_0002  # PostgreSQL's advisory lock that lets one upgrade run at a time
UPGRADE_STATEMENT_MS_MAX = (
    3_600_000  # rewriting a large table may take long; waiting for locks may not (lock_timeout)
)


def migrations_folder() -> Path:
    """Where the migrations are installed."""
    spec = importlib.util.find_spec("migrations")
    assert spec is not None and spec.submodule_search_locations, (
        "metergate is installed without its migrations"
    )
    return Path(next(iter(spec.submodule_search_locations)))


def revisions() -> list[str]:
    """Every revision this code knows, the oldest first; the last is the head. Files are named
    NNNN_what.py.
    """
    return sorted(path.name.split("_")[0] for path in (migrations_folder() / "versions").glob("[0-9]*_*.py"))


async def current_revision(connection: Connection) -> str | None:
    """Where the database stands; None when it holds no ledger yet."""
    is_there = _IS_THERE[connection.dialect.name]
    if not (await connection.exec_driver_sql(is_there)).scalar_one():
        return None
    found = await connection.exec_driver_sql("SELECT version_num FROM alembic_version")
    revision: str | None = found.scalar_one_or_none()
    return revision


def check(current: str | None) -> None:
    """Raises SchemaBehind or SchemaAhead unless `current` is this code's head."""
    known = revisions()
    if current is None:
        raise SchemaBehind("the database holds no ledger yet: run `metergate db upgrade`")
    if current not in known:
        raise SchemaAhead(
            f"the database is at schema {current}, newer than this metergate knows ({known[-1]}):"
            " upgrade metergate"
        )
    if current != known[-1]:
        raise SchemaBehind(
            f"the database is at schema {current}, this metergate needs {known[-1]}:"
            " run `metergate db upgrade`"
        )


def upgrade(connection: "SyncConnection", current: str | None, revision: str = "head") -> None:
    """Apply what lacks behind `current`, inside the caller's transaction. Raises SchemaAhead for a database
    newer than the code.
    """
    if current is not None and current not in revisions():
        check(current)
    if revision == "head" and current == revisions()[-1]:
        return
    _alembic(connection, "upgrade", revision)


async def lock(connection: Connection) -> None:
    """What an upgrade does first: one at a time, and as long as it takes."""
    if connection.dialect.name == "postgresql":
        await connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({UPGRADE_LOCK})")
        await connection.exec_driver_sql(f"SET LOCAL statement_timeout = {UPGRADE_STATEMENT_MS_MAX}")


def downgrade(connection: "SyncConnection", revision: str) -> None:
    """Take migrations back, down to `revision` ("base" for all): for tests and for operators who know why."""
    _alembic(connection, "downgrade", revision)


def _alembic(connection: "SyncConnection", verb: str, revision: str) -> None:
    from alembic import command  # noqa: PLC0415 (see the top)
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(migrations_folder()).replace("%", "%%"))
    config.attributes["connection"] = connection
    getattr(command, verb)(config, revision)
