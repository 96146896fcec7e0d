"""The control plane's process: `python -m admin.plane --fd FD [--no-worker]`.

Serves the app on a socket that is already listening, runs the background worker beside it, says ready, and
stops on SIGTERM or when its supervisor is gone.
"""

import argparse
import asyncio
import contextlib
import logging
import socket
import sys

import uvicorn

from admin.app import create_app
from admin.config import AdminSettings
from admin.worker import BackgroundWorker
from ledger import lifeline, secret_check
from ledger.database import Database
from ledger.errors import DatabaseFault, LedgerError
from ledger.settings import load, pepper

DRAIN_SECONDS = 5
"""A control plane request is short: what takes longer is cut."""


class Server(uvicorn.Server):
    """uvicorn's, that says when it answers."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Starts, then tells the supervisor."""
        await super().startup(sockets)
        if not self.should_exit:
            lifeline.say_ready()


async def check_secret(settings: AdminSettings, secret: bytes) -> None:
    """Raises SecretChanged. A ledger that does not answer now is no reason not to start."""
    database = Database(settings.database_url, pool_size=1)
    try:
        async with database.read() as session:
            await secret_check.check(session, secret)
    except DatabaseFault as fault:
        logging.getLogger("metergate.admin").warning("starting without the database: %s", fault)
    finally:
        await database.close()


async def run(listener: socket.socket, settings: AdminSettings, *, with_worker: bool) -> None:
    """Serves until it is told to stop."""
    config = uvicorn.Config(
        create_app(settings),
        access_log=False,
        log_level="warning",
        server_header=False,
        lifespan="on",
        timeout_graceful_shutdown=DRAIN_SECONDS,
    )
    server = Server(config)

    def orphaned() -> None:
        server.should_exit = True

    lifeline.on_end_of_supervisor(orphaned)
    worker = asyncio.create_task(BackgroundWorker(settings).run()) if with_worker else None
    try:
        await server.serve(sockets=[listener])
    finally:
        if worker is not None:
            worker.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await worker


def main() -> None:
    """Reads the arguments and runs."""
    parser = argparse.ArgumentParser(prog="python -m admin.plane")
    parser.add_argument("--fd", type=int, required=True, help="a listening socket")
    parser.add_argument("--no-worker", action="store_true", help="the background worker runs elsewhere")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    try:
        settings = load(AdminSettings)
        # A key that cannot be read is one line here, and a traceback inside the server.
        asyncio.run(check_secret(settings, pepper(settings)))
        asyncio.run(run(socket.socket(fileno=arguments.fd), settings, with_worker=not arguments.no_worker))
    except LedgerError as fault:
        sys.exit(f"metergate: {fault}")


if __name__ == "__main__":
    main()
