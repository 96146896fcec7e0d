"""A first look at the embedded SQLite ledger, before anything heavy is imported.

`metergate up` starts in a fraction of the time where it can see that nothing has to be migrated: importing
SQLAlchemy takes a second on a slow host. Standard library only; read-only; a look that cannot tell says no,
and whoever asked goes the long way, which has the messages.
"""

import importlib.util
import sqlite3
from pathlib import Path

_URL = "sqlite:///"


def database_path(database_url: str) -> Path | None:
    """The file of an embedded database; None for any other."""
    rest = database_url.removeprefix(_URL)
    return None if rest == database_url or "?" in rest else Path(rest)


def is_current(path: Path) -> bool:
    """Whether the file holds a ledger at exactly this code's schema."""
    try:
        with _open(path) as connection:
            rows = connection.execute("SELECT version_num FROM alembic_version").fetchall()
    except sqlite3.Error:
        return False
    return rows == [(_head(),)]


def has_tenant(path: Path) -> bool:
    """Whether anybody is in the book."""
    try:
        with _open(path) as connection:
            return connection.execute("SELECT 1 FROM tenant LIMIT 1").fetchone() is not None
    except sqlite3.Error:
        return False


def check_digest(path: Path) -> bytes | None:
    """What tells the secret that the keys were made with from another; None before the first key."""
    try:
        with _open(path) as connection:
            row = connection.execute("SELECT digest FROM secret_check").fetchone()
    except sqlite3.Error:
        return None
    return None if row is None else bytes(row[0])


def priced_models(path: Path) -> set[str]:
    """The models that have a price for everybody, as far as the file can be read."""
    try:
        with _open(path) as connection:
            rows = connection.execute(
                "SELECT DISTINCT model FROM price_version WHERE tenant_id IS NULL"
            ).fetchall()
    except sqlite3.Error:
        return set()
    return {model for (model,) in rows}


class _Closing(sqlite3.Connection):
    """A connection that its `with` closes; sqlite3's own only commits."""

    def __exit__(self, *fault: object) -> None:  # type: ignore[override]
        self.close()


def _open(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=1.0, factory=_Closing)


def _head() -> str | None:
    """The newest migration's number: files are named NNNN_what.py."""
    spec = importlib.util.find_spec("migrations")
    folders = list(spec.submodule_search_locations or ()) if spec else []
    names = [path.name for folder in folders for path in Path(folder, "versions").glob("[0-9]*_*.py")]
    return max(names).split("_")[0] if names else None
