"""The engines we stand before: which are up, and which models each serves.

Owns one connection pool per engine, the probe that asks each for its models every PROBE_SECONDS, and the
sweep of deadlines. Rules: a probe that fails takes the engine out of the routes and the next good one puts
it back; what an engine says of its files is never kept. Must not know tenants.
"""

import asyncio
import json
import logging
import ssl
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from ledger.pause import to_beat
from proxy.asking import Answer, ask
from proxy.pool import Pool
from proxy.routing import pick
from proxy.upstream import Timeouts, UpstreamFault

PROBE_SECONDS: Final = 2.0
CALM_SWEEP_SECONDS: Final = 1.0
"""Where no call is in flight: an idle connection ends half a second before vLLM would end it, then."""

_PROBE_TIMEOUT_SECONDS: Final = 5.0

_NO_LIST: Final = (ValueError, TypeError, OverflowError, RecursionError)
"""What comes of reading an answer that is no list of models: a probe that raised would never probe again."""

_log = logging.getLogger("metergate.backends")


@dataclass(frozen=True, slots=True)
class Model:
    """A model as an engine lists it, without what is only the operator's to know."""

    id: str
    created: int
    owned_by: str
    max_model_len: int | None = None


@dataclass(eq=False)
class Backend:
    """One engine. `fingerprint`: the `system_fingerprint` it last gave a model's stream."""

    pool: Pool
    healthy: bool | None = None
    """None: not probed yet."""
    models: dict[str, Model] = field(default_factory=dict)
    fingerprints: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """Its base URL, as configured."""
        return self.pool.url

    @property
    def in_flight(self) -> int:
        """How many calls it has from this process."""
        return self.pool.in_flight


class Backends:
    """All engines of this process."""

    def __init__(
        self,
        urls: Sequence[str],
        timeouts: Timeouts,
        *,
        engine_key: str | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.all = [Backend(Pool(url, timeouts, engine_key=engine_key, tls=tls)) for url in urls]
        questions = Timeouts(*3 * (_PROBE_TIMEOUT_SECONDS,))
        self._questions = {
            backend: Pool(backend.url, questions, engine_key=engine_key, tls=tls) for backend in self.all
        }
        """For what is off the hot path: a question is no call in flight."""
        shortest = min(timeouts.first_byte_seconds, timeouts.gap_seconds)
        self._sweep_seconds = min(0.5, shortest / 4)
        self._calm_sweep_seconds = min(CALM_SWEEP_SECONDS, shortest)  # what begins meanwhile lasts as long
        self._first_seen: dict[str, int] = {}
        self._models: list[Model] = []
        self._serving: dict[str, list[Backend]] = {}
        self._known: set[str] = set()
        self._contexts: dict[str, int] = {}
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Probes every engine once, then goes on in the background."""
        await asyncio.gather(*(self._probe(backend) for backend in self.all))
        self._tasks = [asyncio.create_task(self._probe_forever(backend)) for backend in self.all]
        self._tasks.append(asyncio.create_task(self._sweep_forever()))

    async def stop(self) -> None:
        """Stops probing and closes every connection; also where the start never came to it."""
        for task in self._tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        for pool in self._pools():
            pool.close()

    async def ask(
        self, backend: Backend, path: str, body: bytes | None, timeout_seconds: float = _PROBE_TIMEOUT_SECONDS
    ) -> Answer:
        """A question that is no call. Raises UpstreamFault, TimeoutError."""
        return await ask(self._questions[backend], path, body, timeout_seconds)

    def models(self) -> list[Model]:
        """The models that some healthy engine serves, by id."""
        return self._models

    def only_model(self) -> str | None:
        """The model's id, where there is just one."""
        return self._models[0].id if len(self._models) == 1 else None

    def context_tokens(self, model: str) -> int | None:
        """The longest context of the model that any engine tells; None where none does."""
        return self._contexts.get(model)

    def any_healthy(self) -> bool:
        """Whether any engine answers."""
        return any(backend.healthy for backend in self.all)

    def known(self, model: str) -> bool:
        """Whether any engine has the model, be it up or down."""
        return model in self._known

    def pick(self, model: str, tried: Sequence[Backend] = ()) -> Backend | None:
        """The replica for the next call of `model`."""
        return pick(self._serving.get(model, ()), tried)

    def _index(self) -> None:
        """Works out, after a probe, what every call asks."""
        found: dict[str, Model] = {}
        self._serving = {}
        for backend in self.all:
            if backend.healthy:
                for model in backend.models.values():
                    found.setdefault(model.id, model)
                    self._serving.setdefault(model.id, []).append(backend)
        self._models = [found[name] for name in sorted(found)]
        self._contexts = {}
        for backend in self.all:
            for model in backend.models.values():
                if model.max_model_len:
                    self._contexts[model.id] = max(model.max_model_len, self._contexts.get(model.id, 0))
        self._known = {model for backend in self.all for model in backend.models}

    async def _probe(self, backend: Backend) -> None:
        try:
            status, body = await self.ask(backend, "/v1/models", None)
            fault = "" if status == 200 else f"answers {status} on /v1/models"
            models = {} if fault else self._read(json.loads(body))
        except (UpstreamFault, TimeoutError, LookupError, *_NO_LIST) as error:
            fault, models = f"does not answer ({type(error).__name__})", {}
        if fault:
            if backend.healthy:  # silent from the start is said once for all workers, by the start
                _log.warning("engine %s %s", backend.url, fault)
        else:
            if backend.healthy is False:
                again = " again" if backend.models else ""
                _log.warning("engine %s answers%s", backend.url, again)
            backend.models = models
        backend.healthy = not fault
        self._index()

    def _read(self, answer: Any) -> dict[str, Model]:
        """Reads a model list. `created` is the time of the request in vLLM: the first one seen is kept."""
        models = {}
        for entry in answer["data"]:
            created = self._first_seen.setdefault(str(entry["id"]), int(entry.get("created") or 0))
            length = entry.get("max_model_len")
            models[str(entry["id"])] = Model(
                str(entry["id"]),
                created,
                str(entry.get("owned_by") or "vllm"),
                int(length) if length else None,
            )
        return models

    async def _probe_forever(self, backend: Backend) -> None:
        while True:
            await asyncio.sleep(to_beat(PROBE_SECONDS))
            try:
                await self._probe(backend)
            except Exception:
                _log.exception("the probe of %s failed", backend.url)  # the next one may not

    async def _sweep_forever(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            is_calm = not any(pool.in_flight for pool in self._pools())
            await asyncio.sleep(to_beat(self._calm_sweep_seconds if is_calm else self._sweep_seconds))
            now = loop.time()
            for pool in self._pools():
                pool.sweep(now)

    def _pools(self) -> list[Pool]:
        return [*(backend.pool for backend in self.all), *self._questions.values()]
