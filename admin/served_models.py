"""The models that engines serve now, as the control plane knows them: by asking each engine for its list.

An engine that does not answer keeps the models it had, so that a list of rate limits does not shrink while an
engine restarts. What was asked a moment ago is not asked again.
"""

import asyncio
import ssl
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from ledger.engine_settings import EngineSettings
from ledger.prices import MODEL_CHARS_MAX

if TYPE_CHECKING:
    import httpx

FRESH_SECONDS: Final = 10.0
TIMEOUT_SECONDS: Final = 2.0
"""A page waits this long for an engine that hangs, once in FRESH_SECONDS."""


class ServedModels:
    """Asks when somebody wants to know."""

    def __init__(self, settings: EngineSettings, clock: Callable[[], float] = time.monotonic) -> None:
        """Connects on first use. Close it in the end."""
        self._settings = settings
        self._clock = clock
        self._client: httpx.AsyncClient | None = None
        self._found: dict[str, frozenset[str]] = {}
        self._asked_at: float | None = None
        self._asking = asyncio.Lock()

    async def names(self) -> frozenset[str]:
        """What all engines serve together."""
        async with self._asking:
            now = self._clock()
            if self._asked_at is None or now - self._asked_at >= FRESH_SECONDS:
                await asyncio.gather(*(self._ask(url) for url in self._settings.engines))
                self._asked_at = now
        return frozenset().union(*self._found.values())

    async def close(self) -> None:
        """Closes the connections."""
        if self._client is not None:
            await self._client.aclose()

    async def _ask(self, url: str) -> None:
        import httpx  # noqa: PLC0415 (most of a control plane's life nobody asks)

        try:
            answer = await self._connected().get(f"{url}/v1/models")
            if answer.status_code == 200:
                self._found[url] = _read(answer.json())
        except (httpx.HTTPError, ValueError):
            return

    def _connected(self) -> "httpx.AsyncClient":
        import httpx  # noqa: PLC0415

        if self._client is None:
            key, ca_file = self._settings.engine_api_key, self._settings.engine_ca_file
            self._client = httpx.AsyncClient(
                headers={"authorization": f"Bearer {key.get_secret_value()}"} if key else {},
                timeout=TIMEOUT_SECONDS,
                verify=ssl.create_default_context(cafile=ca_file) if ca_file else True,
                trust_env=False,
            )
        return self._client


def _read(body: Any) -> frozenset[str]:
    """The ids of a list of models; ValueError for anything else."""
    listed = body.get("data") if isinstance(body, dict) else None
    if not isinstance(listed, list):
        raise ValueError("no list of models")
    names = (entry.get("id") for entry in listed if isinstance(entry, dict))
    return frozenset(
        name
        for name in names
        if isinstance(name, str) and 0 < len(name) <= MODEL_CHARS_MAX and name.isprintable()
    )
