"""The paths of the data plane that an engine answers: one row each. pure.

Owns which OpenAI path goes to which engine path, under which field policy, and how its usage is read. A
path that is not here does not reach an engine, whatever the engine has there: vLLM answers /invocations and
/scale_elastic_ep without a key.
"""

from dataclasses import dataclass
from typing import Final

from proxy import fields


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One path. `name` is what the ledger calls it; `input_field` is the field that holds the prompt."""

    name: str
    path: str
    engine_path: str
    table: fields.FieldTable
    input_field: str


CHAT: Final = Endpoint(
    "chat.completions", "/v1/chat/completions", "/v1/chat/completions", fields.CHAT, "messages"
)
COMPLETIONS: Final = Endpoint(
    "completions", "/v1/completions", "/v1/completions", fields.COMPLETIONS, "prompt"
)
EMBEDDINGS: Final = Endpoint("embeddings", "/v1/embeddings", "/v1/embeddings", fields.EMBEDDINGS, "input")
GENERATE: Final = Endpoint("generate", "/generate", "/v1/completions", fields.GENERATE, "prompt")

ENDPOINTS: Final = {endpoint.path: endpoint for endpoint in (CHAT, COMPLETIONS, EMBEDDINGS, GENERATE)}
