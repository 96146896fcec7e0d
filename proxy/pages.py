"""The answers that need no engine: the front page, health, and the models. pure.

Owns their JSON. What an engine tells of its files (`root`, `parent`, permissions) is not among it.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final, Protocol

import msgspec

from proxy.endpoints import ENDPOINTS

VERSION: Final = "0.1.0"


class ModelLike(Protocol):
    """What a model is listed with."""

    @property
    def id(self) -> str: ...
    @property
    def created(self) -> int: ...
    @property
    def owned_by(self) -> str: ...
    @property
    def max_model_len(self) -> int | None: ...


def front() -> bytes:
    """`/`: what this is, and where to go."""
    return _encode(
        {
            "name": "metergate",
            "version": VERSION,
            "description": "OpenAI-compatible API: set your client's base_url to this address and /v1.",
            "docs": "/docs",
            "endpoints": [*ENDPOINTS, "/v1/models", "/v1/key"],
        }
    )


def health() -> bytes:
    """`/healthz`: this process runs."""
    return _encode({"status": "ok"})


def readiness(problems: Sequence[str], strains: Sequence[str] = ()) -> tuple[int, bytes]:
    """`/readyz`: whether calls can be served, and what stands in the way (`problems`) or will if it goes on
    (`strains`): (status, body).
    """
    if problems:
        return 503, _encode({"status": "not ready", "problems": [*strains, *problems]})
    if strains:
        return 200, _encode({"status": "degraded", "problems": list(strains)})
    return 200, _encode({"status": "ready"})


def model_list(models: Iterable[ModelLike]) -> bytes:
    """`/v1/models`, in OpenAI's shape, with vLLM's `max_model_len`."""
    return _encode({"object": "list", "data": [_model(model) for model in models]})


def model_page(model: ModelLike) -> bytes:
    """`/v1/models/{id}`."""
    return _encode(_model(model))


def _model(model: ModelLike) -> dict[str, Any]:
    return {
        "id": model.id,
        "object": "model",
        "created": model.created,
        "owned_by": model.owned_by,
        "max_model_len": model.max_model_len,
    }


def _encode(page: dict[str, Any]) -> bytes:
    return msgspec.json.encode(page)
