"""What the data plane answers with, as JSON Schema. pure.

Owns the shapes of answers and of the objects inside requests. Engines may add members, and vLLM does: what
is listed is what can be relied on. The tests hold real engine answers against these.
"""

from typing import Any, Final

Schema = dict[str, Any]


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _shape(properties: dict[str, Schema], description: str = "", **more: Any) -> Schema:
    """An object whose listed members are all there, but for those in `optional`."""
    optional = more.pop("optional", ())
    required = [name for name in properties if name not in optional]
    shape: Schema = {"type": "object", "properties": properties, "required": required}
    return {"description": description, **shape} if description else shape


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


_TEXT: Final[Schema] = {"type": "string"}
_TEXT_OR_NULL: Final[Schema] = {"type": ["string", "null"]}
_COUNT: Final[Schema] = {"type": "integer", "minimum": 0}
_INDEX: Final[Schema] = {"type": "integer", "minimum": 0, "description": "Which of the answers."}
_CREATED: Final[Schema] = {"type": "integer", "description": "Seconds since the epoch."}
_FREE_OR_NULL: Final[Schema] = {"type": ["object", "null"]}
_FINISH: Final[Schema] = {
    "type": ["string", "null"],
    "description": "Why it ended: `stop`, `length`, `tool_calls`; null while it goes on.",
}
_ID: Final[Schema] = {"type": "string", "description": "Holds the `x-request-id` of the answer."}


def _named(name: str) -> Schema:
    return {"type": "string", "const": name}


_USAGE: Final = _shape(
    {
        "prompt_tokens": _COUNT,
        "completion_tokens": _COUNT,
        "total_tokens": _COUNT,
        "prompt_tokens_details": {
            "type": ["object", "null"],
            "description": "`cached_tokens`: how many prompt tokens the engine had in its cache, where "
            "it tells.",
            "properties": {"cached_tokens": {"type": ["integer", "null"]}},
        },
    },
    "The engine's own count. What is billed is this.",
    optional=("prompt_tokens_details",),
)

_TOOL_CALL: Final = _shape(
    {
        "id": _TEXT,
        "type": _named("function"),
        "function": _shape({"name": _TEXT, "arguments": {"type": "string", "description": "JSON, as text."}}),
    }
)

SCHEMAS: Final[dict[str, Schema]] = {
    "Message": _shape(
        {
            "role": {"type": "string", "examples": ["user"]},
            "content": {
                "description": "The text, or a list of parts (`text`, `image_url`, ...).",
                "anyOf": [_TEXT, {"type": "array", "items": {"type": "object"}}, {"type": "null"}],
            },
            "name": _TEXT,
            "tool_calls": {"type": "array", "items": _ref("ToolCall")},
            "tool_call_id": _TEXT,
        },
        "One message of a conversation.",
        optional=("content", "name", "tool_calls", "tool_call_id"),
    ),
    "Tool": _shape(
        {
            "type": _named("function"),
            "function": _shape(
                {
                    "name": _TEXT,
                    "description": _TEXT,
                    "parameters": {"type": "object", "description": "JSON Schema."},
                },
                optional=("description", "parameters"),
            ),
        },
        "A function that the model may call.",
    ),
    "ToolCall": _TOOL_CALL,
    "Usage": _USAGE,
    "ChatCompletion": _shape(
        {
            "id": _ID,
            "object": _named("chat.completion"),
            "created": _CREATED,
            "model": _TEXT,
            "choices": {
                "type": "array",
                "items": _shape(
                    {
                        "index": _INDEX,
                        "message": _shape(
                            {
                                "role": _named("assistant"),
                                "content": _TEXT_OR_NULL,
                                "reasoning": _TEXT_OR_NULL,
                                "tool_calls": {"type": "array", "items": _ref("ToolCall")},
                            },
                            optional=("reasoning", "tool_calls"),
                        ),
                        "logprobs": _FREE_OR_NULL,
                        "finish_reason": _FINISH,
                    },
                    optional=("logprobs",),
                ),
            },
            "usage": _ref("Usage"),
        },
        "The answer to a chat, in one piece.",
    ),
    "ChatCompletionChunk": _shape(
        {
            "id": _ID,
            "object": _named("chat.completion.chunk"),
            "created": _CREATED,
            "model": _TEXT,
            "choices": {
                "type": "array",
                "description": "Empty in the last chunk, which tells the usage where it was asked for.",
                "items": _shape(
                    {
                        "index": _INDEX,
                        "delta": {
                            "type": "object",
                            "properties": {
                                "role": _TEXT_OR_NULL,
                                "content": _TEXT_OR_NULL,
                                "reasoning": _TEXT_OR_NULL,
                                "tool_calls": {"type": "array", "items": {"type": "object"}},
                            },
                        },
                        "logprobs": _FREE_OR_NULL,
                        "finish_reason": _FINISH,
                    },
                    optional=("logprobs",),
                ),
            },
            "usage": _or_null(_ref("Usage")),
        },
        "One event of a streamed chat. `usage` is there only if it was asked for.",
        optional=("usage",),
    ),
    "Completion": _shape(
        {
            "id": _ID,
            "object": _named("text_completion"),
            "created": _CREATED,
            "model": _TEXT,
            "choices": {
                "type": "array",
                "items": _shape(
                    {"index": _INDEX, "text": _TEXT, "logprobs": _FREE_OR_NULL, "finish_reason": _FINISH},
                    optional=("logprobs",),
                ),
            },
            "usage": _or_null(_ref("Usage")),
        },
        "The answer to a prompt; also one event of a streamed one, which has `usage` only if it was "
        "asked for.",
        optional=("usage",),
    ),
    "EmbeddingList": _shape(
        {
            "object": _named("list"),
            "model": _TEXT,
            "data": {
                "type": "array",
                "items": _shape(
                    {
                        "object": _named("embedding"),
                        "index": _INDEX,
                        "embedding": {
                            "description": "Numbers, or base64.",
                            "anyOf": [{"type": "array", "items": {"type": "number"}}, _TEXT],
                        },
                    }
                ),
            },
            "usage": _ref("Usage"),
        },
        "One vector for each input.",
    ),
    "Generated": _shape(
        {"id": _ID, "model": _TEXT, "text": _TEXT, "finish_reason": _FINISH, "usage": _ref("Usage")},
        "The answer of `/generate`.",
    ),
    "Model": _shape(
        {
            "id": _TEXT,
            "object": _named("model"),
            "created": {
                "type": "integer",
                "description": "When metergate first saw it: seconds since the epoch.",
            },
            "owned_by": _TEXT,
            "max_model_len": {"type": ["integer", "null"], "description": "The model's context, in tokens."},
        },
        "A model that some engine serves.",
    ),
    "ModelList": _shape({"object": _named("list"), "data": {"type": "array", "items": _ref("Model")}}),
    "Key": _shape(
        {
            "data": _shape(
                {
                    "label": {"type": "string", "description": "The key, all but its ends left out."},
                    "name": _TEXT,
                    "limit": {
                        "type": ["number", "null"],
                        "description": "The hard limit on spend with the least left, in units of currency; "
                        "null where there is none.",
                    },
                    "usage": {"type": ["number", "null"], "description": "What is used of it."},
                    "limit_remaining": {"type": ["number", "null"], "description": "What is left of it."},
                    "limit_reset": {
                        "type": ["string", "null"],
                        "description": "Its window: `day`, `month` or `lifetime`.",
                    },
                    "is_provisioning_key": {"type": "boolean", "const": False},
                    "is_free_tier": {"type": "boolean", "const": False},
                    "rate_limit": _shape(
                        {
                            "requests": {
                                "type": ["integer", "null"],
                                "description": "The tightest limit on requests by the minute.",
                            },
                            "interval": _named("60s"),
                        }
                    ),
                    "currency": {"type": "string", "examples": ["USD"]},
                    "expires_at": _TEXT_OR_NULL,
                    "tenant_id": _TEXT,
                    "project_id": _TEXT,
                    "key_id": _TEXT,
                    "models": {
                        "type": "array",
                        "items": _TEXT,
                        "description": "What it may call of what engines serve now.",
                    },
                    "limits": {"type": "array", "items": _ref("KeyLimit")},
                }
            )
        },
        "What a key may do and has left, in OpenRouter's shape where it has one.",
    ),
    "KeyLimit": _shape(
        {
            "id": _TEXT,
            "scope": {"type": "string", "enum": ["tenant", "project", "key"]},
            "kind": {"type": "string", "enum": ["spend", "tokens", "requests", "concurrent"]},
            "window": {"enum": ["minute", "day", "month", "lifetime", None]},
            "max": {"type": "number", "description": "Spend: units of currency; else a whole number."},
            "used": {"type": ["number", "null"], "description": "In the running window; not told of rates."},
            "remaining": {
                "type": ["number", "null"],
                "description": "Of a rate: what may pass at once now. Null where users have their own.",
            },
            "resets_at": _TEXT_OR_NULL,
            "soft": {"type": "boolean", "description": "Nothing is refused for it."},
            "model": _TEXT_OR_NULL,
            "end_user": {
                "type": ["string", "null"],
                "description": "The end user it is for; `*`: each has an amount of their own.",
            },
        },
        "A limit that can concern a call of this key.",
    ),
    "Front": _shape(
        {
            "name": _TEXT,
            "version": _TEXT,
            "description": _TEXT,
            "docs": _TEXT,
            "endpoints": {"type": "array", "items": _TEXT},
        },
        "What this is, and where to go.",
    ),
    "Health": _shape({"status": _named("ok")}),
    "Readiness": _shape(
        {
            "status": {"type": "string", "enum": ["ready", "degraded", "not ready"]},
            "problems": {
                "type": "array",
                "items": _TEXT,
                "description": "What keeps it from serving, or will.",
            },
        },
        optional=("problems",),
    ),
    "Error": _shape(
        {
            "error": _shape(
                {
                    "message": _TEXT,
                    "type": {"type": "string", "examples": ["invalid_request_error"]},
                    "param": {"type": ["string", "null"], "description": "The field that is at fault."},
                    "code": {"type": ["string", "null"], "description": "What went wrong, for programs."},
                }
            )
        },
        "Every failure has this shape, as at OpenAI.",
    ),
}
