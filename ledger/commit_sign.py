"""Whether anything was committed to a SQLite file, told in some 20 microseconds, without a thread.

SQLite counts, for each connection, how often what it reads was changed by another one (`PRAGMA
data_version`): it looks at the head of the WAL's index, in mapped memory, and so never waits for a writer.
Rules:

- The connection waits for nobody, and is used where the event loop runs. Whatever fails is no sign: who wants
  to know has to ask the database then.
- The file is never opened past SQLite: closing it would drop the locks of this process's connections.
"""

import sqlite3
from contextlib import suppress
from pathlib import Path


class CommitSign:
    """The sign of one file. Use and close it in one thread."""

    def __init__(self, path: str) -> None:
        """Connects on first use."""
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._file = (0, 0)
        self._opened = 0

    def read(self) -> tuple[int, int] | None:
        """What is another one once anything was committed; None where that cannot be told now."""
        try:
            found = Path(self._path).stat()
            file = (found.st_dev, found.st_ino)
            if self._connection is None or file != self._file:
                self.close()
                self._connection = sqlite3.connect(self._path, timeout=0, isolation_level=None)
                self._file = file
                self._opened += 1  # another connection counts anew
            ((version,),) = self._connection.execute("PRAGMA data_version").fetchall()
        except (OSError, sqlite3.Error):
            self.close()
            return None
        return self._opened, int(version)

    def close(self) -> None:
        """Closes the connection; it is opened again where it is used again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()
