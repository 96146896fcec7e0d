"""A data plane: a data folder with a migrated ledger, one tenant, project and key, and the processes on it.

Owns how workers and poster are started on one listening socket. Must not know who calls, nor what is looked
at afterwards."""

from __future__ import annotations

import socket
from pathlib import Path

from race.owner import Owner
from race.processes import Process, outside

_BACKLOG = 1024


class Plane(Owner):
    """A running data plane on `data`, its folder. The ledger is `database_url`, else the folder's SQLite."""

    def __init__(
        self,
        data: Path,
        engines: list[str],
        *,
        workers: int = 1,
        database_url: str = "",
        metrics: Path | None = None,
        worker_module: str = "proxy.worker",
        **settings: str,
    ) -> None:
        """`metrics`: a folder in which the workers count; `settings` by their names, in lower case."""
        super().__init__(data, database_url or f"sqlite:///{data / 'metergate.db'}")
        self._worker_module = worker_module
        self.words = data.parent / f"{data.name}.words"
        self._env = {
            **outside(),
            "METERGATE_DATA_DIR": str(data),
            "METERGATE_DATABASE_URL": self.database_url,
            "METERGATE_ENGINES": ",".join(engines),
            **{f"METERGATE_{name.upper()}": value for name, value in settings.items()},
            **({} if metrics is None else {"PROMETHEUS_MULTIPROC_DIR": str(metrics)}),
        }
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=_BACKLOG)
        self.port: int = self._listener.getsockname()[1]
        self.poster = self._start("ledger.poster")
        self.workers = [self.start_worker(number) for number in range(workers)]
        try:
            for process in self.processes:
                process.ready()
        except BaseException:
            self.kill()
            raise

    def stop_listening(self) -> None:
        """From here on only the workers hold the socket: gone, they leave nobody to connect to."""
        self._listener.close()

    @property
    def processes(self) -> tuple[Process, ...]:
        """The workers, and the poster after them."""
        return (*self.workers, self.poster)

    def start_worker(self, number: int) -> Process:
        """Starts the worker of that number, and does not wait until it is ready."""
        fd = self._listener.fileno()
        return self._start(self._worker_module, "--fd", str(fd), "--worker", str(number), fd=fd)

    def kill_worker(self, number: int = 0) -> None:
        """kill -9, and a successor, as the supervisor starts one."""
        self.workers[number].kill()
        is_closed = self._listener.fileno() < 0
        if is_closed:
            self._listener = socket.create_server(("127.0.0.1", self.port), backlog=_BACKLOG)
        self.workers[number] = self.start_worker(number)
        if is_closed:
            self._listener.close()
        self.workers[number].ready()

    def _start(self, module: str, *arguments: str, fd: int | None = None) -> Process:
        return Process(module, *arguments, fd=fd, env=self._env, words=self.words)

    def stop(self) -> list[int]:
        """Stops everything, workers first; the exit statuses."""
        self._listener.close()
        try:
            return [process.stop() for process in self.processes]
        finally:
            self.kill()

    def kill(self) -> None:
        """Ends whatever still runs."""
        self._listener.close()
        for process in self.processes:
            process.kill()
