"""What each field of a request body holds, as JSON Schema. pure.

Owns the words and types of the fields that `proxy.fields` lets through; which endpoint takes which is that
module's alone. A field that is there and not here fails the tests, and so does one whose schema takes
another value than its check.
"""

from typing import Any, Final

from proxy.fields import Limits

Schema = dict[str, Any]

_LIMITS: Final = Limits()


def _of(kind: str, description: str, **more: Any) -> Schema:
    return {"type": kind, "description": description, **more}


def _number(description: str, **more: Any) -> Schema:
    return _of("number", description, **more)


def _whole(description: str, **more: Any) -> Schema:
    return _of("integer", description, **more)


def _flag(description: str) -> Schema:
    return _of("boolean", description)


def _text(description: str, **more: Any) -> Schema:
    return _of("string", description, **more)


def _list(items: str, description: str, **more: Any) -> Schema:
    return _of("array", description, items={"type": items}, **more)


def _object(description: str, **more: Any) -> Schema:
    return _of("object", description, **more)


def _any(description: str, *options: Schema, **more: Any) -> Schema:
    return {"description": description, "anyOf": list(options), **more}


_ONE_OR_MORE_PROMPTS: Final = (
    {"type": "string"},
    {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": _LIMITS.max_prompts},
    {"type": "array", "items": {"type": "integer"}, "minItems": 1},
    {
        "type": "array",
        "items": {"type": "array", "items": {"type": "integer"}},
        "minItems": 1,
        "maxItems": _LIMITS.max_prompts,
    },
)

_PROMPTS: Final = (
    f"A text, a list of texts, token ids, or a list of lists of token ids; {_LIMITS.max_prompts} prompts "
    f"at most "
    "(METERGATE_MAX_PROMPTS)."
)

FIELDS: Final[dict[str, Schema]] = {
    "model": _text("The model's id, as `/v1/models` lists it.", examples=["simulated"]),
    "messages": {
        "description": "The conversation so far.",
        "type": "array",
        "minItems": 1,
        "items": {"$ref": "#/components/schemas/Message"},
        "examples": [[{"role": "user", "content": "Hello!"}]],
    },
    "prompt": _any(_PROMPTS, *_ONE_OR_MORE_PROMPTS, examples=["Once upon a time"]),
    "input": _any(_PROMPTS, *_ONE_OR_MORE_PROMPTS, examples=["Once upon a time"]),
    "stream": _flag("Answer as a stream of server-sent events, token by token."),
    "stream_options": _object(
        "What a stream tells of its usage. Only with `stream`.",
        properties={
            "include_usage": {
                "type": ["boolean", "null"],
                "description": "A last chunk with the total usage, and `usage: null` on the others, as "
                "at OpenAI.",
            },
            "continuous_usage_stats": {
                "type": ["boolean", "null"],
                "description": "With `include_usage`: the running usage on every chunk, as vLLM sends it.",
            },
        },
    ),
    "n": _whole(
        f"How many answers to each prompt; {_LIMITS.max_choices} at most (METERGATE_MAX_CHOICES). "
        "The tokens of all are counted; the prompt once.",
        minimum=1,
        maximum=_LIMITS.max_choices,
    ),
    "max_tokens": _whole(
        "The most tokens of each answer. Chat: the rest of the model's context, unless given; "
        "completions: 16.",
        minimum=0,
        examples=[32],
    ),
    "max_completion_tokens": _whole("As `max_tokens`, and before it.", minimum=0),
    "min_tokens": _whole("The fewest tokens of each answer.", minimum=0),
    "best_of": _whole("Only 1: vLLM ignores it. Use `n`.", const=1),
    "return_token_ids": _flag("Tell the ids of the tokens beside the text."),
    "cache_salt": _text(
        "Keeps your prompts apart in the engine's prefix cache. It is mixed with your tenant's own salt, "
        "so no "
        "value of it reaches another tenant's prompts."
    ),
    "include_reasoning": _flag(
        "Whether the answer shows the reasoning. It is made, and counted, all the same."
    ),
    "modalities": _list("string", 'Only `["text"]`.', const=["text"]),
    "encoding_format": {
        "type": "string",
        "enum": ["float", "base64"],
        "description": "How the vectors are written: numbers, or base64 of 32-bit floats (half the size).",
    },
    "dimensions": _whole("The length of the vectors, where the model can shorten them."),
    "normalize": _flag("Scale each vector to length 1."),
    "use_activation": _flag("Apply the model's own last step to each vector."),
    "temperature": _number("0 always takes the likeliest token; higher is more varied."),
    "top_p": _number("Sample among the likeliest tokens that make up this share."),
    "top_k": _whole("Sample among this many likeliest tokens; 0: all."),
    "min_p": _number("Leave out tokens less likely than this share of the likeliest."),
    "frequency_penalty": _number("Against tokens, the more often they occurred."),
    "presence_penalty": _number("Against tokens that occurred at all."),
    "repetition_penalty": _number("Against tokens of prompt and answer; 1: none."),
    "length_penalty": _number("Passed to the engine; of use only to beam search, which is refused."),
    "seed": _whole("The same seed and request give the same answer, as far as the engine can."),
    "stop": _any(
        "End the answer before one of these texts.",
        {"type": "string"},
        {"type": "array", "items": {"type": "string"}},
    ),
    "stop_token_ids": _list("integer", "End the answer at one of these tokens."),
    "include_stop_str_in_output": _flag("Keep the text that ended the answer."),
    "ignore_eos": _flag("Go on to `max_tokens` whatever the model says."),
    "skip_special_tokens": _flag("Leave special tokens out of the text."),
    "spaces_between_special_tokens": _flag("Put spaces between special tokens."),
    "truncate_prompt_tokens": _whole("Cut the prompt to this many tokens."),
    "truncation_side": _text("Which end of the prompt is cut.", enum=["left", "right"]),
    "allowed_token_ids": _list("integer", "Only these tokens may occur."),
    "bad_words": _list("string", "These words may not occur."),
    "logit_bias": _object("Token id to bias, from -100 to 100.", additionalProperties={"type": "number"}),
    "add_special_tokens": _flag("Add the model's special tokens (such as its first) to the prompt."),
    "echo": _flag("Put the prompt before the answer."),
    "user": _text("Your own name for whom the call is made: kept with its usage, for limits of end users."),
    "logprobs": _flag("Tell the likelihood of each token."),
    "top_logprobs": _whole("Tell this many likeliest alternatives to each token."),
    "prompt_logprobs": _whole("The same for the tokens of the prompt."),
    "logprob_token_ids": _list("integer", "Tell the likelihood of these tokens at each place."),
    "response_format": _object(
        "Hold the answer to a form: `text`, `json_object`, or `json_schema` with a schema.",
        properties={
            "type": {"type": "string", "examples": ["json_schema"]},
            "json_schema": {"type": ["object", "null"]},
        },
        required=["type"],
    ),
    "structured_outputs": _object(
        "vLLM's way to hold the answer to a form: one of `json`, `regex`, `choice`, `grammar`, and others."
    ),
    "guided_json": _any(
        "As `structured_outputs.json`, in older vLLM.", {"type": "object"}, {"type": "string"}
    ),
    "guided_regex": _text("As `structured_outputs.regex`, in older vLLM."),
    "guided_choice": _list("string", "As `structured_outputs.choice`, in older vLLM."),
    "guided_grammar": _text("As `structured_outputs.grammar`, in older vLLM."),
    "guided_decoding_backend": _text("Which of older vLLM's guides holds the answer to its form."),
    "guided_whitespace_pattern": _text("What counts as white space in guided JSON, in older vLLM."),
    "return_tokens_as_token_ids": _flag("Write tokens in `logprobs` as `token_id:N`."),
    "return_token_offsets": _flag("Tell where each token begins in the text."),
    "return_prompt_text": _flag("Give back the prompt as the model saw it."),
    "thinking_token_budget": _whole("The most tokens the model may spend on reasoning."),
    "repetition_detection": _object("End an answer that repeats itself; see vLLM."),
    "watermarking": _object("Mark the answer; see vLLM."),
    "suffix": _text("What follows the answer, where the model can fill in."),
    "tools": {
        "type": "array",
        "items": {"$ref": "#/components/schemas/Tool"},
        "description": "Functions that the model may call.",
    },
    "tool_choice": _any(
        "`none`, `auto`, `required`, or one function.", {"type": "string"}, {"type": "object"}
    ),
    "parallel_tool_calls": _flag("Whether the model may call several functions at once."),
    "reasoning_effort": _text("How much a reasoning model thinks.", examples=["low"]),
    "add_generation_prompt": _flag("End the prompt with the model's cue to answer."),
    "continue_final_message": _flag("Go on with the last message instead of answering it."),
    "chat_template_kwargs": _object("Switches of the model's chat template, such as `enable_thinking`."),
    "documents": {
        "type": "array",
        "items": {"type": "object"},
        "description": "Texts for the chat template, where it takes any.",
    },
}
"""By name, as most endpoints take it."""

SPECIAL: Final[dict[tuple[str, str], Schema]] = {
    ("completions", "logprobs"): _whole("Tell the likelihood of each token, and this many alternatives."),
    ("generate", "prompt"): _text("The text to go on from.", examples=["Once upon a time"]),
    ("generate", "max_tokens"): _whole(
        "The most tokens of the answer; 16 unless given.", minimum=1, examples=[32]
    ),
    ("generate", "model"): _text(
        "The model's id. May be left out where the engines serve one model.", examples=["simulated"]
    ),
}
"""(endpoint's name, field), where one endpoint takes it otherwise."""


def schema_of(endpoint: str, field: str, *, required: bool) -> Schema:
    """The schema of a field that `endpoint` lets through. `null` counts as left out where that is allowed.

    Raises KeyError for a field that nobody has described.
    """
    schema = SPECIAL.get((endpoint, field)) or FIELDS[field]
    return schema if required else _or_null(schema)


def _or_null(schema: Schema) -> Schema:
    if "anyOf" in schema:
        return {**schema, "anyOf": [*schema["anyOf"], {"type": "null"}]}
    if "const" in schema:
        described = {name: value for name, value in schema.items() if name == "description"}
        only = {name: value for name, value in schema.items() if name != "description"}
        return {**described, "anyOf": [only, {"type": "null"}]}
    nullable = {**schema, "type": [schema["type"], "null"]}
    if "enum" in schema:
        nullable["enum"] = [*schema["enum"], None]
    return nullable
