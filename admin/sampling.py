"""Asking engines for their own counts: what reconciliation compares the ledger with.

Owns the way from an engine's /metrics to samples. vLLM's names, as of 0.32: a counter for prompt tokens and
one for generated ones, by `model_name` and by `engine` (one for each data-parallel rank; they add up), the
`_created` time of each, and the calls at work or waiting. It must not know what becomes of samples.
"""

import ssl
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import httpx
from prometheus_client.parser import text_string_to_metric_families

from ledger.engine_settings import EngineSettings
from ledger.reconciliation.arithmetic import Tokens
from ledger.reconciliation.lives import Sample

TIMEOUT_SECONDS: Final = 5.0
PAGE_BYTES_MAX: Final = 16 << 20
"""vLLM's page is some 100 KB for each model."""

_PROMPT: Final = "vllm:prompt_tokens_total"
_GENERATION: Final = "vllm:generation_tokens_total"
_CREATED: Final = ("vllm:prompt_tokens_created", "vllm:generation_tokens_created")
_AT_WORK: Final = ("vllm:num_requests_running", "vllm:num_requests_waiting")
_STARTED: Final = "process_start_time_seconds"
_WANTED: Final = tuple(
    f"{name}{mark}" for name in (_PROMPT, _GENERATION, *_CREATED, *_AT_WORK, _STARTED) for mark in ("{", " ")
)


class CountsMissing(Exception):
    """The engine does not tell its counts; the message says how it fails, without the URL."""


@dataclass(slots=True)
class Counts:
    """What a page tells of one model; times in microseconds by the engine's clock."""

    tokens: dict[str, int] = field(default_factory=lambda: {_PROMPT: 0, _GENERATION: 0})
    created_us: list[int] = field(default_factory=list)
    in_flight: int = 0


def read_page(page: str) -> tuple[int, dict[str, Counts]]:
    """When the process started, and the counts by model. Raises CountsMissing."""
    lines = "\n".join(line for line in page.splitlines() if line.startswith(_WANTED))
    started_us = 0
    counts: dict[str, Counts] = defaultdict(Counts)
    told: set[str] = set()
    try:
        for family in text_string_to_metric_families(lines + "\n"):
            for name, labels, value, *_ in family.samples:
                told.add(name)
                if name == _STARTED:
                    started_us = int(value * 1e6)
                    continue
                of_model = counts[labels["model_name"]]
                if name in of_model.tokens:
                    of_model.tokens[name] += int(value)
                elif name in _CREATED:
                    of_model.created_us.append(int(value * 1e6))
                else:
                    of_model.in_flight += int(value)
    except (ValueError, KeyError, OverflowError) as error:  # what the parser raises, and NaN or no label
        raise CountsMissing("has a metrics page that cannot be read") from error
    if not {_PROMPT, _GENERATION} <= told:
        raise CountsMissing(f"has a metrics page without {_PROMPT} and {_GENERATION}")
    return started_us, dict(counts)


class Sampler:
    """Asks engines over connections of its own."""

    def __init__(self, settings: EngineSettings, now_us: Callable[[], int]) -> None:
        """`now_us` is the clock. Close it in the end."""
        key, ca_file = settings.engine_api_key, settings.engine_ca_file
        self._client = httpx.AsyncClient(
            headers={"authorization": f"Bearer {key.get_secret_value()}"} if key else {},
            timeout=TIMEOUT_SECONDS,
            verify=ssl.create_default_context(cafile=ca_file) if ca_file else True,
            trust_env=False,
        )
        self._now_us = now_us

    async def sample(self, url: str) -> Sequence[Sample]:
        """A sample for each model that the engine counts. Raises CountsMissing."""
        asked_us = self._now_us()
        try:
            page = await self._page(f"{url}/metrics")
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise CountsMissing(f"does not answer ({type(error).__name__})") from error
        at_us = self._now_us()
        started_us, counts = read_page(page)
        return [
            Sample(
                backend=url,
                model=model,
                at_us=max(asked_us, at_us),
                asked_us=asked_us,
                engine_started_us=started_us or min(of_model.created_us, default=0),
                counting_since_us=min(of_model.created_us, default=0),
                tokens=Tokens(of_model.tokens[_PROMPT], of_model.tokens[_GENERATION]),
                in_flight=of_model.in_flight,
            )
            for model, of_model in sorted(counts.items())
        ]

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.aclose()

    async def _page(self, url: str) -> str:
        page = bytearray()
        async with self._client.stream("GET", url) as answer:
            if answer.status_code != 200:
                raise CountsMissing(f"answers {answer.status_code} to /metrics")
            async for part in answer.aiter_bytes():
                page += part
                if len(page) > PAGE_BYTES_MAX:
                    raise CountsMissing("has a metrics page of more than 16 MiB")
        return page.decode(errors="replace")
