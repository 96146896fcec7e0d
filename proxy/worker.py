"""One worker of the data plane: `python -m proxy.worker --fd FD --worker K`.

The composition root of this process: reads the settings, makes the parts, serves the socket it was handed,
and puts everything down in order at the end. Knows no more of any part than its constructor.
"""

import argparse
import gc
import hmac
import logging
import resource
import socket
import ssl
import sys
import time
from collections.abc import Callable
from functools import lru_cache

import uvloop

from ledger.direct_database import DirectDatabase
from ledger.errors import LedgerError
from ledger.journal.recovery import recover_into
from ledger.journal.segments import TAKE_OVER_S, worker_folder
from ledger.journal.writer import JournalWriter
from ledger.secret_key import pepper
from ledger.settings import load
from proxy import access
from proxy.access import Access
from proxy.admission import Admission, Limits
from proxy.app import DataPlane
from proxy.auth import Authenticator
from proxy.backends import Backends
from proxy.client_address import TrustedProxies
from proxy.config import ProxySettings, UnpricedModels
from proxy.fields import Limits as FieldLimits
from proxy.flight import FlightRecorder
from proxy.forwarding import Forwarding
from proxy.key_page import KeyPage
from proxy.leasing import LeaseDesk
from proxy.ledger_gauge import LedgerGauge
from proxy.metrics import Metrics
from proxy.opening import Opening
from proxy.plans import PlanBook
from proxy.priced import PricedModels
from proxy.relay import Relay
from proxy.server import Server
from proxy.settlement import SettledCalls
from proxy.tokenizing import PromptCounter
from proxy.upstream import Timeouts

GC_THRESHOLDS = (20_000, 20, 20)
"""Calls leave next to no cycles behind: looking for them at every 700 objects costs 2% and finds nothing."""


def now_us() -> int:
    """Microseconds since the epoch."""
    return time.time_ns() // 1000


def cache_salts(secret: bytes, *, isolate: bool) -> Callable[[str], str | None]:
    """Gives each tenant a cache salt that nobody can guess; None for all where the cache is shared."""

    @lru_cache(maxsize=10_000)
    def salt_of(tenant_id: str) -> str | None:
        return hmac.digest(secret, b"cache salt " + tenant_id.encode(), "sha256").hex() if isolate else None

    return salt_of


async def serve(settings: ProxySettings, worker: int, listener: socket.socket) -> None:
    """Serves until told to stop. Raises LedgerError where it cannot begin."""
    secret = pepper(settings)
    database = DirectDatabase(settings.database_url, pool_size=settings.database_pool_size)
    folder = worker_folder(settings.data_dir, worker)
    journal = JournalWriter(
        folder,
        free_bytes_min=settings.disk_free_bytes_min,
        journal_bytes_max=settings.journal_bytes_max,
        patience_s=TAKE_OVER_S,
    )
    recovered = recover_into(journal, folder)  # before anything is said of the dead owner's end
    settled = SettledCalls(journal, FlightRecorder(folder))
    metrics, gauge = Metrics(), LedgerGauge(worker)
    for record in recovered:
        metrics.settled(record)
    backends = Backends(
        settings.engines,
        Timeouts(
            settings.connect_timeout_seconds,
            settings.first_byte_timeout_seconds,
            settings.gap_timeout_seconds,
        ),
        engine_key=settings.engine_api_key.get_secret_value() if settings.engine_api_key else None,
        tls=ssl.create_default_context(cafile=settings.engine_ca_file) if settings.engine_ca_file else None,
    )
    authenticator = Authenticator(database, secret, now_us, settings.cached_keys_seconds)
    priced = PricedModels(database, now_us)
    authenticator.on_change.append(priced.changed)
    relay = Relay(backends)
    desk = LeaseDesk(database, worker, now_us, journal.begin_holder, metrics.exchanged)
    plans = PlanBook(desk.account, priced.rates_of)
    priced.on_change.append(plans.forget)
    admission = Admission(
        backends,
        Limits(desk, plans, PromptCounter(backends).count, settings.currency, metrics.refused, metrics.alone),
        has_room=settled.has_room,
        is_priced=priced.is_priced,
        refuse_unpriced=settings.unpriced_models is UnpricedModels.REFUSE,
    )
    forwarding = Forwarding(settings.forward_admin_url)
    app = DataPlane(
        authenticator=authenticator,
        access=Access(TrustedProxies.parse(settings.trusted_proxies)),
        admission=admission,
        backends=backends,
        relay=relay,
        key_page=KeyPage(
            database,
            models_of=lambda principal: [model.id for model in access.models(principal, backends)],
            currency=settings.currency,
            now_us=now_us,
        ),
        settled=settled,
        metrics=metrics,
        limits=FieldLimits(settings.max_choices, settings.max_prompts, frozenset(settings.extra_fields)),
        max_body_bytes=settings.max_body_bytes,
        max_header_bytes=settings.max_header_bytes,
        forwarding=forwarding,
        salt_of=cache_salts(secret, isolate=settings.isolate_prefix_cache),
        now_us=now_us,
    )

    async def cut() -> None:
        admission.close()
        await relay.cut()

    server = Server(app, drain_seconds=settings.drain_seconds, on_stop=admission.stop, cut=cut)

    async def take_keys() -> None:
        await authenticator.start()
        priced.changed()  # between its first look and ours

    opening = Opening(database, secret, (priced.start, desk.start, take_keys), server.stop)
    try:
        await opening.begin()
        await backends.start()
        await metrics.start()
        gauge.start(is_up=authenticator.ledger.ledger_answers)
        authenticator.ledger.on_turn.append(gauge.set)
        gc.collect()
        gc.freeze()  # what is here now stays: later collections need not look at it
        gc.set_threshold(*GC_THRESHOLDS)
        await server.serve([listener])
        opening.raise_fault()
    finally:
        await opening.stop()
        await metrics.stop()
        await priced.stop()
        await authenticator.stop()
        await desk.stop()
        await backends.stop()
        await forwarding.close()
        settled.close()
        await database.close()


def main() -> None:
    """Runs one worker."""
    parser = argparse.ArgumentParser(prog="proxy.worker")
    parser.add_argument("--fd", type=int, required=True, help="the listening socket")
    parser.add_argument("--worker", type=int, default=0, help="its number, which names its journal")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="metergate: %(message)s", stream=sys.stderr)
    logging.getLogger("uvicorn.error").addFilter(_is_news)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard if hard != resource.RLIM_INFINITY else soft, hard))
    try:
        uvloop.run(serve(load(ProxySettings), arguments.worker, socket.socket(fileno=arguments.fd)))
    except LedgerError as error:
        sys.exit(f"metergate: {error}")


_NO_NEWS = ("without completing response", "pgrade", "WebSocket library", "Invalid HTTP request")


def _is_news(record: logging.LogRecord) -> bool:
    """What uvicorn says, but for what any client can make it say.

    A broken stream is left unfinished so that its client sees it; a request to upgrade (`curl --http2`) is
    answered as if it had not asked; what is no HTTP is answered with 400, and port scanners send much of it.
    """
    words = str(record.msg)
    return not any(known in words for known in _NO_NEWS)


if __name__ == "__main__":
    main()
