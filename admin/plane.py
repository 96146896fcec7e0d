"""The control plane's process: `python -m admin.plane --fd FD [--no-worker]`.

Serves the app on a socket that is already listening, runs the background worker beside it, says ready, and
stops on SIGTERM or when its supervisor is gone. What serves is in admin/plane_server.py.
"""

import argparse
import asyncio
import gc
import logging
import socket
import sys

from admin.config import AdminSettings
from ledger.errors import LedgerError
from ledger.settings import load, pepper

GC_THRESHOLDS = (50_000, 20, 20)
"""A page of a report is tens of thousands of tuples and no cycle: looking for some took most of its time."""


def main() -> None:
    """Reads the arguments and runs."""
    parser = argparse.ArgumentParser(prog="python -m admin.plane")
    parser.add_argument("--fd", type=int, required=True, help="a listening socket")
    parser.add_argument("--no-worker", action="store_true", help="the background worker runs elsewhere")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    gc.disable()  # what is imported stays: looking for garbage in it is a fifth of the time it takes
    from admin.plane_server import check_secret, run  # noqa: PLC0415

    gc.freeze()
    gc.enable()
    gc.set_threshold(*GC_THRESHOLDS)
    try:
        settings = load(AdminSettings)
        # A key that cannot be read is one line here, and a traceback inside the server.
        asyncio.run(check_secret(settings, pepper(settings)))
        asyncio.run(run(socket.socket(fileno=arguments.fd), settings, with_worker=not arguments.no_worker))
    except LedgerError as fault:
        sys.exit(f"metergate: {fault}")


if __name__ == "__main__":
    main()
