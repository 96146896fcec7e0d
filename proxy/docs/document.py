"""The OpenAPI 3.1 document of the data plane. pure.

Owns how the code's tables become a document: the paths and fields of `proxy.endpoints`, the failures of
`proxy.errors`, the pages of `proxy.pages`. Knows nothing of settings: where a bound can be set, its default
is told and the setting named.
"""

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from proxy import pages
from proxy.docs.answer_schemas import SCHEMAS
from proxy.docs.field_schemas import schema_of
from proxy.endpoints import ENDPOINTS, Endpoint
from proxy.errors import ApiError, ClientGone, MethodRefused

Node = dict[str, Any]

_ABOUT: Final = """\
An OpenAI-compatible API in front of vLLM. Set your client's `base_url` to this address followed by `/v1`, and
its key to a key of this server (`sk-mg-...`).

* A field that is not listed for an endpoint is refused with 400 and its name. The operator can let further
  ones through (METERGATE_EXTRA_FIELDS).
* Every answer carries `x-request-id`; it is the id of the call in the usage export.
* Every failure has OpenAI's shape; `x-should-retry`, `retry-after` and `retry-after-ms` say whether and when
  to try again.
* A stream that breaks ends with an event `data: {"error": ...}` and without `data: [DONE]`.

The same document in OpenAPI 3.1: [/openapi.json](/openapi.json).
"""

_WORDS: Final = {
    "chat.completions": ("Chat", "Answer a conversation"),
    "completions": ("Completions", "Go on from a prompt"),
    "embeddings": ("Embeddings", "Turn texts into vectors"),
    "generate": ("Generate", "Text for a prompt, the simple way"),
}
"""By endpoint: its tag and what it does."""

_ANSWERS: Final = {
    "chat.completions": ("ChatCompletion", "ChatCompletionChunk"),
    "completions": ("Completion", "Completion"),
    "embeddings": ("EmbeddingList", None),
    "generate": ("Generated", None),
}
"""By endpoint: the schema of the whole answer, and of one event of a stream."""

_EXAMPLES: Final[dict[str, dict[str, Node]]] = {
    "chat.completions": {
        "whole": {
            "model": "simulated",
            "messages": [{"role": "user", "content": "Hello!"}],
            "max_tokens": 32,
        },
        "stream": {
            "model": "simulated",
            "messages": [{"role": "user", "content": "Hello!"}],
            "max_tokens": 32,
            "stream": True,
            "stream_options": {"include_usage": True},
        },
    },
    "completions": {"whole": {"model": "simulated", "prompt": "Once upon a time", "max_tokens": 32}},
    "embeddings": {"whole": {"model": "simulated-embedding", "input": ["a text", "another"]}},
    "generate": {"whole": {"model": "simulated", "prompt": "Once upon a time", "max_tokens": 32}},
}

_STREAM_EXAMPLE: Final = (
    'data: {"id":"chatcmpl-req_0123","object":"chat.completion.chunk","created":1790000000,'
    '"model":"simulated","choices":[{"index":0,"delta":{"content":"Hello"},"logprobs":null,'
    '"finish_reason":null}]}\n\ndata: [DONE]\n\n'
)

_HEADERS: Final = {
    "x-request-id": "The call's id, `req_` and 32 hexadecimal digits.",
    "openai-processing-ms": "Milliseconds until the answer began.",
    "openai-organization": "The tenant of the key.",
    "openai-version": "The version of OpenAI's API that this follows.",
}

_LIMIT_HEADERS: Final = {
    f"x-ratelimit-{what}-{kind}": f"{text} {kind} by the minute, where there is one."
    for kind in ("requests", "tokens")
    for what, text in (
        ("limit", "The tightest limit on"),
        ("remaining", "What is left of the tightest limit on"),
        ("reset", "In how long all is back (`6m0s`, a duration of Go) of the tightest limit on"),
    )
}

_KEYED: Final[list[Node]] = [{"bearer": []}, {"api-key": []}, {"x-api-key": []}]


def openapi() -> Node:
    """The whole document, made anew."""
    paths = {endpoint.path: {"post": _call(endpoint)} for endpoint in ENDPOINTS.values()}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "metergate data plane",
            "version": pages.VERSION,
            "summary": "OpenAI-compatible API in front of vLLM, with keys and exact metering.",
            "description": _ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": _tags(),
        "paths": paths | _pages(),
        "components": {
            "schemas": SCHEMAS | {_body_name(each): _body(each) for each in ENDPOINTS.values()},
            "responses": {f"Error{status}": _failure(status, kinds) for status, kinds in failures().items()},
            "headers": {
                name: {"description": text, "schema": {"type": "string"}}
                for name, text in (_HEADERS | _LIMIT_HEADERS).items()
            },
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "`Authorization: Bearer sk-mg-...`",
                },
                "api-key": {"type": "apiKey", "in": "header", "name": "api-key"},
                "x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            },
        },
    }


def failures() -> dict[int, list[type[ApiError]]]:
    """Every kind of failure that somebody receives, by HTTP status."""
    found: dict[int, list[type[ApiError]]] = {}
    waiting: list[type[ApiError]] = [ApiError]
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        if kind not in (ApiError, ClientGone) and not kind.__name__.startswith("_"):
            found.setdefault(kind.status, []).append(kind)
    return {status: sorted(found[status], key=lambda kind: kind.__name__) for status in sorted(found)}


def _tags() -> list[Node]:
    return [{"name": tag} for tag, _ in _WORDS.values()] + [
        {"name": "Models"},
        {"name": "Key"},
        {"name": "Service"},
    ]


def _body_name(endpoint: Endpoint) -> str:
    return "".join(part.capitalize() for part in endpoint.name.split(".")) + "Request"


def _body(endpoint: Endpoint) -> Node:
    table = endpoint.table
    required = [endpoint.input_field]
    if endpoint.name != "generate":
        required.insert(0, "model")
    others = sorted((table.passed | set(table.checked)) - set(required))
    first = [name for name in ("model", endpoint.input_field) if name not in others]
    return {
        "type": "object",
        "required": required,
        "additionalProperties": False,
        "properties": {
            name: schema_of(endpoint.name, name, required=name in required) for name in [*first, *others]
        },
    }


def _call(endpoint: Endpoint) -> Node:
    tag, summary = _WORDS[endpoint.name]
    statuses = [status for status in failures() if status != MethodRefused.status]
    whole, event = _ANSWERS[endpoint.name]
    content: Node = {"application/json": {"schema": _ref(whole)}}
    if event is not None:
        content["text/event-stream"] = {
            "schema": {
                "type": "string",
                "description": f"With `stream`: events `data: ` + {event} as JSON, each ended by an "
                "empty line; "
                "the last one is `data: [DONE]`.",
            },
            "example": _STREAM_EXAMPLE,
        }
    return {
        "operationId": endpoint.name.replace(".", "_"),
        "tags": [tag],
        "summary": summary,
        "description": _policy(endpoint),
        "security": _KEYED,
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": _ref(_body_name(endpoint)),
                    "examples": {name: {"value": body} for name, body in _EXAMPLES[endpoint.name].items()},
                }
            },
        },
        "responses": {"200": _answer("The engine's answer.", content, _LIMIT_HEADERS), **_errors(*statuses)},
    }


def _policy(endpoint: Endpoint) -> str:
    """What becomes of fields that do not reach the engine."""
    lines = []
    if dropped := sorted(endpoint.table.dropped):
        lines.append("Taken and left out: " + ", ".join(f"`{name}`" for name in dropped) + ".")
    if refused := endpoint.table.refused:
        lines.append("Refused:\n\n" + "\n".join(f"* `{name}`: {reason}" for name, reason in refused.items()))
    return "\n\n".join(lines)


def _pages() -> Node:
    problems = ["no engine answers"]
    return {
        "/v1/models": {"get": _page("models", "Models", "List the models", "ModelList", keyed=True)},
        "/v1/models/{model}": {
            "get": _page("model", "Models", "Show a model", "Model", keyed=True)
            | {
                "parameters": [
                    {
                        "name": "model",
                        "in": "path",
                        "required": True,
                        "schema": {"type": "string"},
                        "description": "Its id; a slash in it may be written as it is or as `%2F`.",
                        "example": "simulated",
                    }
                ]
            }
        },
        "/v1/key": {
            "get": _page("key", "Key", "What the key may do, and what it has left", "Key", keyed=True)
        },
        "/": {"get": _page("front", "Service", "What this is", "Front", example=pages.front())},
        "/healthz": {
            "get": _page("healthz", "Service", "This process runs", "Health", example=pages.health())
        },
        "/readyz": {
            "get": _page(
                "readyz",
                "Service",
                "Calls can be served",
                "Readiness",
                example=pages.readiness([])[1],
                not_ready=pages.readiness(problems)[1],
            )
        },
    }


def _page(
    name: str,
    tag: str,
    summary: str,
    schema: str,
    *,
    keyed: bool = False,
    example: bytes | None = None,
    not_ready: bytes | None = None,
) -> Node:
    statuses = [431]
    if keyed:
        statuses = [401, 403, 404, 431, 503] if name == "model" else [401, 403, 431, 503]
    responses = {"200": _answer(summary + ".", _json(schema, example)), **_errors(*statuses)}
    if not_ready is not None:
        responses["503"] = _answer("Not now; `problems` says why.", _json(schema, not_ready))
    return {
        "operationId": name,
        "tags": [tag],
        "summary": summary,
        "security": _KEYED if keyed else [],
        "responses": responses,
    }


def _json(schema: str, example: bytes | None) -> Node:
    shown = {} if example is None else {"example": msgspec.json.decode(example)}
    return {"application/json": {"schema": _ref(schema), **shown}}


def _answer(description: str, content: Node, more: Iterable[str] = ()) -> Node:
    headers = {name: {"$ref": f"#/components/headers/{name}"} for name in (*_HEADERS, *more)}
    return {"description": description, "headers": headers, "content": content}


def _errors(*statuses: int) -> Node:
    return {str(status): {"$ref": f"#/components/responses/Error{status}"} for status in statuses}


def _failure(status: int, kinds: list[type[ApiError]]) -> Node:
    lines = [f"* {f'`{kind.code}`' if kind.code else 'no code'}: {_first_line(kind)}" for kind in kinds]
    examples = {
        kind.__name__: {"value": msgspec.json.decode(kind(_first_line(kind)).body())} for kind in kinds
    }
    headers = {}
    if any(kind.should_retry is not None for kind in kinds):
        headers["x-should-retry"] = "`false`: trying again does not help."
    if any(kind.retry_after_ms is not None for kind in kinds):
        headers["retry-after"] = "Seconds to wait before trying again."
        headers["retry-after-ms"] = "The same in milliseconds."
    return {
        "description": "\n".join(lines),
        "headers": {
            name: {"description": text, "schema": {"type": "string"}} for name, text in headers.items()
        },
        "content": {"application/json": {"schema": _ref("Error"), "examples": examples}},
    }


def _first_line(kind: type[ApiError]) -> str:
    return (kind.__doc__ or "").partition("\n")[0]


def _ref(name: str) -> Node:
    return {"$ref": f"#/components/schemas/{name}"}
