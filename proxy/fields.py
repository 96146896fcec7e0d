"""Which fields of a request body go to the engine: one table per endpoint. pure.

Owns the decision *passed, checked, dropped, set or refused* for every top-level field. Knows nothing of
HTTP. Rules:

- A field that is in no table is refused by name, as OpenAI does: a new engine field may break metering or
  isolation before anyone has read its code. The operator can pass more with METERGATE_EXTRA_FIELDS; what is
  refused for a reason stays so.
- What decides metering (`stream`, `n`, `max_tokens`, ...) has exactly one JSON type here, although vLLM
  takes `"stream": "on"`, `"n": "2"` and `"max_tokens": 4.0`: engine and meter must never read two requests
  out of one.
- Source of the field names: vLLM 0.32's OpenAPI document, OpenAI's, and older vLLM's `guided_*`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from proxy.errors import FieldRefused, FieldUnsupported

_NAME_CHARS_SHOWN: Final = 100
"""A made-up name may be as long as the body; the answer need not be."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The operator's bounds on one request."""

    max_choices: int = 16
    max_prompts: int = 2048
    extra_fields: frozenset[str] = frozenset()


Check = Callable[[str, Any, Limits], None]


@dataclass(frozen=True, slots=True)
class FieldTable:
    """The policy of one endpoint, by field name. A name is in one place only."""

    passed: frozenset[str]
    """Goes on as it is; the engine judges the value."""
    checked: Mapping[str, Check]
    """Goes on if its value is of the one right type and within its bounds. `null` counts as absent."""
    dropped: frozenset[str] = frozenset()
    """Taken from OpenAI's clients and left out: no engine acts on it, or we set it ourselves."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """Refused, with the reason; `null` and `false` count as absent."""

    def apply(self, body: dict[str, Any], limits: Limits) -> dict[str, Any]:
        """The fields that go to the engine. Raises FieldRefused, FieldUnsupported."""
        kept = {}
        for name, value in body.items():
            if name in self.passed:
                kept[name] = value
            elif (check := self.checked.get(name)) is not None:
                if value is not None:
                    check(name, value, limits)
                    kept[name] = value
            elif name in self.dropped:
                continue
            elif (reason := self.refused.get(name)) is not None:
                if value is not None and value is not False:
                    raise FieldUnsupported(f"The field `{name}` is refused: {reason}", name)
            elif name in limits.extra_fields:
                kept[name] = value
            else:
                shown = name[:_NAME_CHARS_SHOWN]
                raise FieldUnsupported(f"Unrecognized request argument supplied: {shown}", shown)
        return kept


def _boolean(name: str, value: Any, _limits: Limits) -> None:
    if value is not True and value is not False:
        raise FieldRefused(f"`{name}` must be true or false.", name)


def _integer(low: int) -> Check:
    def check(name: str, value: Any, _limits: Limits) -> None:
        if type(value) is not int or value < low:
            raise FieldRefused(f"`{name}` must be a whole number of at least {low}.", name)

    return check


def _choices(name: str, value: Any, limits: Limits) -> None:
    if type(value) is not int or not 1 <= value <= limits.max_choices:
        raise FieldRefused(f"`{name}` must be a whole number from 1 to {limits.max_choices}.", name)


def _best_of(name: str, value: Any, _limits: Limits) -> None:
    if value != 1 or type(value) is not int:
        raise FieldRefused(f"`{name}` other than 1 is not supported: vLLM ignores it. Use `n`.", name)


def _text(name: str, value: Any, _limits: Limits) -> None:
    if not isinstance(value, str):
        raise FieldRefused(f"`{name}` must be a string.", name)


def _stream_options(name: str, value: Any, _limits: Limits) -> None:
    if not isinstance(value, dict):
        raise FieldRefused(f"`{name}` must be an object.", name)
    for key in ("include_usage", "continuous_usage_stats"):
        if not isinstance(value.get(key, False), bool | None):
            raise FieldRefused(f"`{name}.{key}` must be true or false.", f"{name}.{key}")


def prompts_in(value: Any) -> int:
    """How many prompts a `prompt` or `input` holds: text and token ids, one or a list of them. 0: none of
    these."""
    if isinstance(value, str):
        return 1
    if not isinstance(value, list) or not value:
        return 0
    if type(value[0]) is int:
        return 1 if all(type(token) is int for token in value) else 0
    wanted = str if isinstance(value[0], str) else list
    return len(value) if all(isinstance(prompt, wanted) for prompt in value) else 0


def _prompts(name: str, value: Any, limits: Limits) -> None:
    count = prompts_in(value)
    if count == 0:
        raise FieldRefused(f"`{name}` must be a string, a list of strings, or token ids.", name)
    if count > limits.max_prompts:
        raise FieldRefused(f"`{name}` holds {count} prompts; the most is {limits.max_prompts}.", name)


def _messages(name: str, value: Any, _limits: Limits) -> None:
    if not isinstance(value, list) or not value or not all(isinstance(message, dict) for message in value):
        raise FieldRefused(f"`{name}` must be a list of at least one message.", name)


def _text_only(name: str, value: Any, _limits: Limits) -> None:
    if value != ["text"]:
        raise FieldRefused(f'`{name}` other than ["text"] is not supported.', name)


def _encoding(name: str, value: Any, _limits: Limits) -> None:
    if value not in ("float", "base64"):
        raise FieldRefused(f'`{name}` must be "float" or "base64".', name)


_SAMPLING: Final = frozenset(
    {
        "temperature",
        "top_p",
        "top_k",
        "min_p",
        "frequency_penalty",
        "presence_penalty",
        "repetition_penalty",
        "length_penalty",
        "seed",
        "stop",
        "stop_token_ids",
        "include_stop_str_in_output",
        "ignore_eos",
        "skip_special_tokens",
        "spaces_between_special_tokens",
        "truncate_prompt_tokens",
        "truncation_side",
        "allowed_token_ids",
        "bad_words",
        "logit_bias",
        "add_special_tokens",
        "echo",
        "user",
        "logprobs",
        "prompt_logprobs",
        "logprob_token_ids",
        "response_format",
        "structured_outputs",
        "guided_json",
        "guided_regex",
        "guided_choice",
        "guided_grammar",
        "guided_decoding_backend",
        "guided_whitespace_pattern",
        "return_tokens_as_token_ids",
        "return_token_offsets",
        "thinking_token_budget",
        "repetition_detection",
        "watermarking",
    }
)

_GENERATING: Final[Mapping[str, Check]] = {
    "model": _text,
    "stream": _boolean,
    "stream_options": _stream_options,
    "n": _choices,
    "max_tokens": _integer(0),
    "min_tokens": _integer(0),
    "return_token_ids": _boolean,
    "cache_salt": _text,
}

_BREAKS_METERING: Final = "it breaks the count of tokens."
_REFUSED: Final[Mapping[str, str]] = {
    "use_beam_search": "beam search makes tokens that the engine's usage does not tell.",
    "stream_interval": _BREAKS_METERING,
    "priority": "the order of requests is the operator's.",
    "kv_transfer_params": "it reaches into the engine's cache.",
    "ec_transfer_params": "it reaches into the engine's cache.",
    "vllm_xargs": "it reaches into the engine's extensions.",
    "logits_processors": "it names code to run in the engine.",
    "prompt_embeds": "it hands the engine serialized tensors.",
    "session_id": "it crosses the border between tenants.",
    "mm_payload": "it changes what the engine answers with.",
    "return_mm_kwargs": "it changes what the engine answers with.",
    "routed_experts_prompt_start": "it changes what the engine answers with.",
}

CHAT: Final = FieldTable(
    passed=_SAMPLING
    | frozenset(
        {
            "top_logprobs",
            "tools",
            "tool_choice",
            "parallel_tool_calls",
            "reasoning_effort",
            "add_generation_prompt",
            "continue_final_message",
            "chat_template_kwargs",
            "documents",
            "return_prompt_text",
        }
    ),
    checked={
        **_GENERATING,
        "messages": _messages,
        "max_completion_tokens": _integer(0),
        "include_reasoning": _boolean,
        "modalities": _text_only,
    },
    dropped=frozenset(
        {
            "request_id",
            "store",
            "metadata",
            "service_tier",
            "safety_identifier",
            "prompt_cache_key",
            "prompt_cache_options",
            "prompt_cache_retention",
            "verbosity",
            "prediction",
            "moderation",
        }
    ),
    refused={
        **_REFUSED,
        "functions": "use `tools`.",
        "function_call": "use `tool_choice`.",
        "audio": "the engine makes no audio.",
        "web_search_options": "the engine does not search the web.",
        "chat_template": "a template is a program that runs in the engine; use `chat_template_kwargs`.",
        "media_io_kwargs": _BREAKS_METERING,
        "mm_processor_kwargs": _BREAKS_METERING,
    },
)

COMPLETIONS: Final = FieldTable(
    passed=_SAMPLING | {"suffix"},
    checked={**_GENERATING, "prompt": _prompts, "best_of": _best_of},
    dropped=frozenset({"request_id"}),
    refused=_REFUSED,
)

EMBEDDINGS: Final = FieldTable(
    passed=frozenset(
        {
            "dimensions",
            "user",
            "truncate_prompt_tokens",
            "truncation_side",
            "add_special_tokens",
            "normalize",
            "use_activation",
        }
    ),
    checked={"model": _text, "input": _prompts, "encoding_format": _encoding, "cache_salt": _text},
    dropped=frozenset({"request_id"}),
    refused={"priority": _REFUSED["priority"], "messages": "use `input`."},
)

GENERATE: Final = FieldTable(
    passed=frozenset(
        {"temperature", "top_p", "top_k", "min_p", "seed", "stop", "frequency_penalty", "presence_penalty"}
    ),
    checked={"model": _text, "prompt": _text, "max_tokens": _integer(1), "cache_salt": _text},
    refused={"stream": "it answers in one piece; /v1/completions streams."},
)
