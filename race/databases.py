"""Fresh, migrated ledgers for races, on SQLite and on PostgreSQL.

Owns the templates and the server, which starts when it is first wanted. Must not know what is done with them.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from race.postgresql import Server, copy_of, drop, make_template, migrate, server

KINDS = ("sqlite", "postgresql")
_TEMPLATE = "race_template"


class Databases:
    """Ledgers for as many races as there are. `folder` is its own."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        """`server` is PostgreSQL's, once one was wanted."""
        self._folder = folder
        self._stack = stack
        self.server: Server | None = None
        self._made = 0

    @contextmanager
    def fresh(self, kind: str) -> Iterator[tuple[Path, str]]:
        """(a folder with an empty `data` in it, the URL of a new ledger of that kind); gone at the end."""
        self._made += 1
        folder = self._folder / f"race{self._made}"
        data = folder / "data"
        data.mkdir(parents=True)
        try:
            if kind == "sqlite":
                shutil.copy(self._sqlite_template(), data / "metergate.db")
                yield folder, f"sqlite:///{data / 'metergate.db'}"
            else:
                server, name = self._postgresql(), f"race_{self._made}"
                yield folder, copy_of(server, _TEMPLATE, name)
                drop(server, name)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _sqlite_template(self) -> Path:
        path = self._folder / "template.db"
        if not path.exists():
            migrate(f"sqlite:///{path}")
        return path

    def _postgresql(self) -> str:
        if self.server is None:
            self.server = self._stack.enter_context(server())
            make_template(self.server.url, _TEMPLATE)
        return self.server.url


@contextmanager
def databases() -> Iterator[Databases]:
    """Everything that was made is gone at the end."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="race")))
        yield Databases(folder, stack)
