"""The poster as a process: settings, signals, and the two pipes to the supervisor that started it.

METERGATE_READY_FD: `ready` is written there once the poster is at work. METERGATE_LIFE_FD: its end means that
the supervisor is gone, which is a wish to stop. Exit status: 0 after a wish to stop, 1 with one line when it
cannot serve.
"""

import asyncio
import logging
import signal
import sys
from collections.abc import Sequence

from ledger import lifeline
from ledger.direct_database import DirectDatabase
from ledger.errors import LedgerError
from ledger.poster import run
from ledger.record import CallRecord
from ledger.settings import LedgerSettings, load


def main() -> None:
    """Run until told to stop."""
    logging.basicConfig(level=logging.INFO, format="poster: %(levelname)s %(message)s", stream=sys.stderr)
    try:
        asyncio.run(_serve(load(LedgerSettings)))
    except LedgerError as error:
        sys.exit(f"poster: {error}")
    except asyncio.CancelledError:  # hurried
        sys.exit(0)


async def _serve(settings: LedgerSettings) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    serving = asyncio.current_task()
    assert serving is not None

    def stop() -> None:
        if stopping.is_set():
            # Connections are torn where they are; their pool need not say how that felt.
            logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL)
            serving.cancel()
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    lifeline.on_end_of_supervisor(stopping.set)
    database = DirectDatabase(settings.database_url, pool_size=1)
    try:
        await run(
            database,
            settings.data_dir,
            settings.currency,
            stopping,
            lifeline.say_ready,
            _count_recovered,
            keep_s=settings.journal_keep_hours * 3600,
        )
    finally:
        await database.close()


def _count_recovered(records: Sequence[CallRecord]) -> None:
    """For /metrics, as their worker would have. What counts is imported for it: most posters never do."""
    from ledger import counters  # noqa: PLC0415

    try:
        counters.take_room()
    except LedgerError as fault:
        logging.getLogger(__name__).warning("%s; %d recovered calls are in no metric", fault, len(records))
        return
    counters.count_calls(records)
