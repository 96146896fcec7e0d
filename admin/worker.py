"""The background worker: small jobs on a clock, beside the control plane or alone (`python -m admin.worker`).

Rules: a job is idempotent, since two workers may run; one that fails is logged in a line and tried again at
its next turn; none holds up another for long. Nothing depends on them: the expiry of a key, a session or
a token is checked where it is used.
"""

import asyncio
import contextlib
import logging
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from admin.config import AdminSettings
from ledger import day_sums, kept_answers, leases, lifeline, outbox, past_windows, ways_in
from ledger.database import Database
from ledger.errors import LedgerError
from ledger.partitions import ensure_partitions
from ledger.settings import load, pepper

if TYPE_CHECKING:
    from admin.alerts.worker import AlertWorker
    from admin.reconciler import Reconciler

SCHEMA_SECONDS = 60.0
"""How often to look whether somebody has upgraded the database under this code."""
PARTITIONS_SECONDS = 3600.0
"""How often to look whether PostgreSQL has the partitions of the months to come: they are made months ahead,
so that many turns may fail before a row misses its own.
"""
PAST_WINDOWS_SECONDS = 3600.0
"""How often limits' windows long past are cleared away: a little each time."""
WAYS_IN_SECONDS = 600.0
"""How often sessions, password resets and counts of logins that are over are cleared away."""
DAY_SUMS_SECONDS = 3600.0
"""How often to look whether code from before the daily sums has posted something."""
RECONCILED_AFTER_SECONDS = 5.0
"""When engines are asked first: what that takes is heavy to import, and no start waits for it."""
OUTBOX_SECONDS = 3600.0
"""How often notices that were sent long ago are cleared away."""
ALERTS_AFTER_SECONDS = 5.0
"""When alerts are looked for first: as above."""
DEAD_HOLDERS_SECONDS = 30.0
"""How often leases of workers that died are taken back, of limits that nobody lacked meanwhile: until then
they show as held.
"""
DEAD_HOLDERS_AT_ONCE = 100
"""Of how many in one transaction, so that no exchange waits for long behind the dead of a whole cluster."""
KEPT_ANSWERS_SECONDS = 300.0
"""How often answers that are kept for idempotency keys are cleared away, when they are a day old."""
CONNECTIONS = 2

_log = logging.getLogger("metergate.worker")


@dataclass(frozen=True, slots=True)
class Job:
    """Something to do every so often. Its errors are logged, not raised."""

    name: str
    every_seconds: float
    run: Callable[[], Awaitable[None]]
    after_seconds: float = 0.0
    """When it is done first."""


class BackgroundWorker:
    """Runs the jobs until it is cancelled."""

    def __init__(
        self, settings: AdminSettings, now_us: Callable[[], int] = lambda: time.time_ns() // 1000
    ) -> None:
        """Connects to the ledger on first use; `now_us` is the clock."""
        self._settings = settings
        self._now_us = now_us
        self._reconciler: Reconciler | None = None
        self._alerts: AlertWorker | None = None

    async def run(self) -> None:
        """Runs every job soon, and then on its own clock."""
        database = Database(self._settings.database_url, pool_size=CONNECTIONS)

        async def make_partitions() -> None:
            async with database.write() as session:
                await ensure_partitions(session, self._now_us())

        async def clear_past_windows() -> None:
            async with database.write() as session:
                await past_windows.clear(session, self._now_us())

        async def clear_ways_in() -> None:
            async with database.write() as session:
                await ways_in.clear(session, self._settings.session_terms(), self._now_us())

        async def tie_last_days() -> None:
            await day_sums.tie_last_days(database, self._now_us())

        async def clear_kept_answers() -> None:
            async with database.write() as session:
                await kept_answers.clear(session, self._now_us())

        async def take_from_the_dead() -> None:
            await _take_from_the_dead(database, self._now_us)

        async def reconcile() -> None:
            if self._reconciler is None:
                self._reconciler = await asyncio.to_thread(self._make_reconciler, database)
            await self._reconciler.turn()

        async def alert() -> None:
            if self._alerts is None:
                self._alerts = await asyncio.to_thread(self._make_alerts, database)
            await self._alerts.turn()

        async def clear_outbox() -> None:
            async with database.write() as session:
                await outbox.clear(session, self._now_us())

        jobs = [
            Job("the schema check", SCHEMA_SECONDS, database.check),
            Job("limits' windows long past", PAST_WINDOWS_SECONDS, clear_past_windows),
            Job("leases of dead workers", DEAD_HOLDERS_SECONDS, take_from_the_dead),
            Job("sessions and tokens that are over", WAYS_IN_SECONDS, clear_ways_in),
            Job("the daily sums", DAY_SUMS_SECONDS, tie_last_days),
            Job("what was sent long ago", OUTBOX_SECONDS, clear_outbox),
            Job("answers kept for a day", KEPT_ANSWERS_SECONDS, clear_kept_answers),
        ]
        if not database.is_sqlite:
            jobs.append(Job("the monthly partitions", PARTITIONS_SECONDS, make_partitions))
        every = self._settings.reconcile_seconds
        if every and not self._settings.engines:
            _log.warning("no engine is set (METERGATE_ENGINES): the ledger is compared with none")
        elif every:
            jobs.append(Job("the reconciliation", every, reconcile, min(every, RECONCILED_AFTER_SECONDS)))
        if self._settings.alert_seconds:
            every = self._settings.alert_seconds
            jobs.append(Job("the alerts on spend", every, alert, min(every, ALERTS_AFTER_SECONDS)))
        try:
            async with asyncio.TaskGroup() as group:
                for job in jobs:
                    group.create_task(_repeat(job))
        finally:
            if self._reconciler is not None:
                await self._reconciler.close()
            if self._alerts is not None:
                await self._alerts.close()
            await database.close()

    def _make_reconciler(self, database: Database) -> "Reconciler":
        from admin.reconciler import Reconciler  # noqa: PLC0415
        from admin.sampling import Sampler  # noqa: PLC0415

        sampler = Sampler(self._settings, self._now_us)
        return Reconciler(database, sampler, self._settings.engines, self._now_us)

    def _make_alerts(self, database: Database) -> "AlertWorker":
        from admin.alerts.webhooks import Webhooks  # noqa: PLC0415
        from admin.alerts.worker import AlertWorker  # noqa: PLC0415

        settings = self._settings
        webhooks = Webhooks(may_be_private=settings.webhook_private_addresses)
        return AlertWorker(
            database, pepper(settings), webhooks, settings.smtp, settings.smtp_from, self._now_us
        )


async def _take_from_the_dead(database: Database, now_us: Callable[[], int]) -> None:
    is_all = False
    while not is_all:
        expired = await database.transact(
            lambda connection: leases.expire(connection, now_us(), DEAD_HOLDERS_AT_ONCE)
        )
        is_all = expired.is_all
        for holder in expired.forgotten:
            if holder.seen_us:  # who was told that it is unknown has begun anew
                told = "worker %d of %s was not heard of for ten minutes: its leases went back"
                _log.warning(told, holder.worker, holder.host)


async def _repeat(job: Job) -> None:
    await asyncio.sleep(job.after_seconds)
    while True:
        try:
            await job.run()
        except LedgerError as fault:
            _log.warning("%s: %s", job.name, fault)
        except Exception:
            _log.exception("%s failed", job.name)
        await asyncio.sleep(job.every_seconds)


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
