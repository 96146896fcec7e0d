"""The background worker: small jobs on a clock, beside the control plane or alone (`python -m admin.worker`).

Rules: a job is idempotent, since two workers may run; one that fails is logged in a line and tried again at
its next turn; none holds up another for long. Nothing has to be expired yet: a key's expiry is checked
where the key is used.
"""

import asyncio
import contextlib
import logging
import signal
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from admin.config import AdminSettings
from ledger import lifeline
from ledger.database import Database
from ledger.errors import LedgerError
from ledger.settings import load

SCHEMA_SECONDS = 60.0
"""How often to look whether somebody has upgraded the database under this code."""

_log = logging.getLogger("metergate.worker")


@dataclass(frozen=True, slots=True)
class Job:
    """Something to do every so often. Its errors are logged, not raised."""

    name: str
    every_seconds: float
    run: Callable[[], Awaitable[None]]


class BackgroundWorker:
    """Runs the jobs until it is cancelled."""

    def __init__(self, settings: AdminSettings) -> None:
        """Connects to the ledger on first use."""
        self._settings = settings

    async def run(self) -> None:
        """Runs every job on its own clock."""
        database = Database(self._settings.database_url, pool_size=1)
        jobs = (Job("the schema check", SCHEMA_SECONDS, database.check),)
        try:
            async with asyncio.TaskGroup() as group:
                for job in jobs:
                    group.create_task(_repeat(job))
        finally:
            await database.close()


async def _repeat(job: Job) -> None:
    while True:
        await asyncio.sleep(job.every_seconds)
        try:
            await job.run()
        except LedgerError as fault:
            _log.warning("%s: %s", job.name, fault)
        except Exception:
            _log.exception("%s failed", job.name)


async def _serve(settings: AdminSettings) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    lifeline.on_end_of_supervisor(stopped.set)
    work = asyncio.create_task(BackgroundWorker(settings).run())
    lifeline.say_ready()
    await stopped.wait()
    work.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await work


def main() -> None:
    """Runs until it is told to stop."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    try:
        asyncio.run(_serve(load(AdminSettings)))
    except LedgerError as fault:
        sys.exit(f"metergate: {fault}")


if __name__ == "__main__":
    main()
