"""The metrics page: `python -m admin.metrics_page --fd FD --data-dir DIR` serves /metrics.

The workers and the poster count through prometheus_client's multiprocess mode, into files of one folder; this
process adds them up when it is asked, looks at the journals itself (admin/journal_gauges.py), and shows
beside them what the ledger knows (admin/ledger_gauges.py). It is a
process of its own so that a scrape never waits for a request, nor a request for a scrape. It must not know
what is counted.
"""

import argparse
import logging
import signal
import socket
import threading
import time
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import MetricsHandler
from prometheus_client.multiprocess import MultiProcessCollector

from admin.journal_gauges import JournalGauges
from admin.ledger_gauges import LedgerGauges
from ledger import lifeline

SLOW_READER_SECONDS = 10.0
NEVER_SECONDS = 1e6
"""How often the server looks whether it was told to stop: twice a second, unless told otherwise."""


class Page(MetricsHandler):
    """GET /metrics, and nothing else."""

    timeout = SLOW_READER_SECONDS

    def do_GET(self) -> None:  # noqa: N802 - the base class's name
        """Answers one scrape."""
        if self.path.partition("?")[0] != "/metrics":
            self.send_error(404, "only /metrics is here")
            return
        super().do_GET()

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 - the base class's name
        """A scrape is no news."""


class Server(ThreadingHTTPServer):
    """On a socket that is already listening."""

    daemon_threads = True

    def __init__(self, listener: socket.socket, registry: CollectorRegistry) -> None:
        """`listener` becomes the server's own."""
        host, port = listener.getsockname()[:2]
        super().__init__((host, port), Page.factory(registry), bind_and_activate=False)
        self.socket.close()
        self.socket = listener

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A scraper that went away is no fault of ours; anything else is one line."""
        logging.getLogger("metergate.metrics").warning("a scrape failed", exc_info=False)


def serve(listener: socket.socket, data_dir: Path, gauges: LedgerGauges) -> None:
    """Serves until SIGTERM, or until the supervisor is gone."""
    registry = CollectorRegistry()
    registry.register(JournalGauges(data_dir, lambda: time.time_ns() // 1000))
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    registry.register(gauges)
    server = Server(listener, registry)
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    signal.signal(signal.SIGINT, lambda *_: stopping.set())
    # Nobody waits for it to look up: it ends with the process, and a scrape under way with it.
    threading.Thread(target=server.serve_forever, args=(NEVER_SECONDS,), daemon=True).start()
    lifeline.on_end_of_supervisor_in_thread(stopping.set)
    lifeline.say_ready()
    gauges.follow()
    stopping.wait()
    server.server_close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m admin.metrics_page")
    parser.add_argument("--fd", type=int, required=True, help="a listening socket")
    parser.add_argument("--data-dir", type=Path, required=True, help="where the journals are")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    serve(socket.socket(fileno=arguments.fd), arguments.data_dir, LedgerGauges())
