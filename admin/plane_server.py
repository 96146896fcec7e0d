"""The control plane's server: the app on a listening socket, the background worker beside it.

Heavy to import (FastAPI, SQLAlchemy): admin/plane.py is the process, and imports it once it has read its
arguments.
"""

import asyncio
import contextlib
import logging
import socket
from functools import partial
from types import FrameType

import uvicorn

from admin.app import create_app
from admin.config import AdminSettings
from admin.plane_connection import PlaneConnection
from admin.worker import BackgroundWorker
from ledger import lifeline, secret_check
from ledger.direct_database import DirectDatabase
from ledger.errors import DatabaseFault
from ledger.pause import pause

DRAIN_SECONDS = 5
"""A control plane request is short: what takes longer is cut."""

TICK_SECONDS = 1.0


class Server(uvicorn.Server):
    """uvicorn's, that says when it answers, and sleeps while nobody asks: uvicorn's own looks ten times a
    second whether it is to stop.
    """

    def __init__(self, config: uvicorn.Config) -> None:
        """Make it inside the event loop that runs it."""
        super().__init__(config)
        self.answers = asyncio.Event()
        """Set once it does."""
        self._told = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def stop(self) -> None:
        """Begins to stop."""
        self.should_exit = True
        self._told.set()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal, at whatever place."""
        super().handle_exit(sig, frame)
        self._loop.call_soon_threadsafe(self._told.set)

    async def main_loop(self) -> None:
        """Until it is to stop; once a second for the date of answers."""
        while not await self.on_tick(0):
            await pause(TICK_SECONDS, self._told)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Starts, then tells the supervisor."""
        await super().startup(sockets)
        if not self.should_exit:
            lifeline.say_ready()
            self.answers.set()


async def check_secret(settings: AdminSettings, secret: bytes) -> None:
    """Raises SecretChanged. A ledger that does not answer now is no reason not to start."""
    database = DirectDatabase(settings.database_url, pool_size=1)
    try:
        await database.look(partial(secret_check.check, pepper=secret))
    except DatabaseFault as fault:
        logging.getLogger("metergate.admin").warning("starting without the database: %s", fault)
    finally:
        await database.close()


async def run(listener: socket.socket, settings: AdminSettings, *, with_worker: bool) -> None:
    """Serves until it is told to stop."""
    server = Server(configuration(settings))

    lifeline.on_end_of_supervisor(server.stop)

    async def work() -> None:
        """Jobs that no start waits for."""
        await server.answers.wait()
        await BackgroundWorker(settings).run()

    worker = asyncio.create_task(work()) if with_worker else None
    try:
        await server.serve(sockets=[listener])
    finally:
        if worker is not None:
            worker.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await worker


def configuration(settings: AdminSettings) -> uvicorn.Config:
    """The app, and how it is served."""
    return uvicorn.Config(
        create_app(settings),
        http=PlaneConnection,
        access_log=False,
        log_level="warning",
        server_header=False,
        lifespan="on",
        timeout_graceful_shutdown=DRAIN_SECONDS,
        # For the audit log, and for nothing that is decided by it: unless told, of loopback it is believed.
        forwarded_allow_ips=list(settings.trusted_proxies) or "127.0.0.1,::1",
    )
