"""Which fields of a request go to the engine: nothing unknown, nothing in two minds."""

from typing import Any

import pytest

from proxy import fields
from proxy.errors import FieldRefused, FieldUnsupported
from proxy.fields import FieldTable, Limits

TABLES = {
    "chat": fields.CHAT,
    "completions": fields.COMPLETIONS,
    "embeddings": fields.EMBEDDINGS,
    "generate": fields.GENERATE,
}
# The names of vLLM 0.32's own document, of OpenAI's, and of older vLLM's clients.
VLLM_BOTH = [
    "model",
    "frequency_penalty",
    "logit_bias",
    "logprobs",
    "max_tokens",
    "n",
    "presence_penalty",
    "response_format",
    "seed",
    "stop",
    "stream",
    "stream_options",
    "temperature",
    "top_p",
    "thinking_token_budget",
    "user",
    "use_beam_search",
    "top_k",
    "min_p",
    "repetition_penalty",
    "watermarking",
    "length_penalty",
    "stop_token_ids",
    "include_stop_str_in_output",
    "ignore_eos",
    "min_tokens",
    "skip_special_tokens",
    "spaces_between_special_tokens",
    "truncate_prompt_tokens",
    "truncation_side",
    "prompt_logprobs",
    "logprob_token_ids",
    "allowed_token_ids",
    "bad_words",
    "echo",
    "add_special_tokens",
    "structured_outputs",
    "priority",
    "request_id",
    "session_id",
    "return_tokens_as_token_ids",
    "return_token_ids",
    "routed_experts_prompt_start",
    "return_token_offsets",
    "mm_payload",
    "return_mm_kwargs",
    "cache_salt",
    "kv_transfer_params",
    "ec_transfer_params",
    "vllm_xargs",
    "repetition_detection",
    "stream_interval",
]
VLLM_CHAT = [
    "messages",
    "top_logprobs",
    "max_completion_tokens",
    "tools",
    "tool_choice",
    "reasoning_effort",
    "include_reasoning",
    "parallel_tool_calls",
    "add_generation_prompt",
    "continue_final_message",
    "documents",
    "chat_template",
    "chat_template_kwargs",
    "media_io_kwargs",
    "mm_processor_kwargs",
    "return_prompt_text",
]
VLLM_COMPLETIONS = ["prompt", "suffix", "prompt_embeds"]
OPENAI_CHAT = [
    "metadata",
    "top_logprobs",
    "temperature",
    "top_p",
    "user",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "prompt_cache_options",
    "messages",
    "model",
    "service_tier",
    "modalities",
    "verbosity",
    "reasoning_effort",
    "max_completion_tokens",
    "frequency_penalty",
    "presence_penalty",
    "web_search_options",
    "response_format",
    "audio",
    "store",
    "moderation",
    "stream",
    "stop",
    "logit_bias",
    "logprobs",
    "max_tokens",
    "n",
    "prediction",
    "seed",
    "stream_options",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "function_call",
    "functions",
]
OPENAI_COMPLETIONS = [
    "model",
    "prompt",
    "best_of",
    "echo",
    "frequency_penalty",
    "logit_bias",
    "logprobs",
    "max_tokens",
    "n",
    "presence_penalty",
    "seed",
    "stop",
    "stream",
    "stream_options",
    "suffix",
    "temperature",
    "top_p",
    "user",
]
OPENAI_EMBEDDINGS = ["input", "model", "encoding_format", "dimensions", "user"]
KNOWN = [
    *(("chat", name) for name in dict.fromkeys(VLLM_BOTH + VLLM_CHAT + OPENAI_CHAT)),
    *(("completions", name) for name in dict.fromkeys(VLLM_BOTH + VLLM_COMPLETIONS + OPENAI_COMPLETIONS)),
    *(("embeddings", name) for name in OPENAI_EMBEDDINGS),
]
# What breaks the count, the border between tenants, or the engine: whatever a table says, these never pass.
NEVER = [
    "use_beam_search",
    "stream_interval",
    "priority",
    "kv_transfer_params",
    "ec_transfer_params",
    "vllm_xargs",
    "logits_processors",
    "prompt_embeds",
    "session_id",
]


def places(table: FieldTable, name: str) -> int:
    return sum(name in place for place in (table.passed, table.checked, table.dropped, table.refused))


@pytest.mark.parametrize(("table", "name"), KNOWN)
def test_every_known_field_has_one_place(table: str, name: str) -> None:
    """A field in no place is refused as unknown, which is no answer; one in two has two policies."""
    assert places(TABLES[table], name) == 1


@pytest.mark.parametrize("table", TABLES)
def test_no_field_has_two_places(table: str) -> None:
    """The first place found would win, silently."""
    this = TABLES[table]
    names = [*this.passed, *this.checked, *this.dropped, *this.refused]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("name", NEVER)
@pytest.mark.parametrize("table", ["chat", "completions"])
@pytest.mark.parametrize("value", [True, 1, "x", {}, [], 0, ""])
def test_what_breaks_the_count_never_passes(table: str, name: str, value: Any) -> None:
    """Not by another type, and not by the operator's METERGATE_EXTRA_FIELDS."""
    limits = Limits(extra_fields=frozenset(NEVER))
    with pytest.raises(FieldUnsupported) as refusal:
        TABLES[table].apply({name: value}, limits)
    assert name in refusal.value.message and refusal.value.param == name


@pytest.mark.parametrize("name", NEVER)
@pytest.mark.parametrize("value", [None, False])
def test_a_refused_field_that_says_nothing_is_absent(name: str, value: Any) -> None:
    """Clients that dump their defaults send `use_beam_search: false`."""
    assert fields.CHAT.apply({name: value, "temperature": 1}, Limits()) == {"temperature": 1}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("stream", value) for value in ("on", "true", 1, 0, "false", 1.0, [], {})),
        *(("n", value) for value in ("2", True, 2.0, 0, -1, 17, 10**30, [1], {})),
        *(("max_tokens", value) for value in (4.0, "4", True, False, -1, [4], 1e300)),
        *(("max_completion_tokens", value) for value in (4.0, "4", True, -1)),
        *(("min_tokens", value) for value in (4.0, "4", True, -1)),
        *(("include_reasoning", value) for value in ("false", 0, 1, "no")),
        *(("return_token_ids", value) for value in ("false", 0, 1)),
        *(("model", value) for value in (1, True, [], {})),
        *(("cache_salt", value) for value in (1, True, [])),
        *(("stream_options", value) for value in ([], True, "x", 1)),
        *(("stream_options", {"include_usage": value}) for value in ("true", 1, 0, [])),
        *(("stream_options", {"continuous_usage_stats": value}) for value in ("true", 1)),
        *(("messages", value) for value in ([], "hello", {}, [1], ["x"], [None])),
        *(("modalities", value) for value in (["audio"], ["text", "audio"], "text", [])),
    ],
)
def test_what_decides_metering_has_one_type(name: str, value: Any) -> None:
    """vLLM takes `"stream": "on"` and `"n": "2"`: an engine and a meter that read two requests out of one."""
    with pytest.raises(FieldRefused) as refusal:
        fields.CHAT.apply({name: value}, Limits())
    assert name in refusal.value.message
    assert (refusal.value.param or "").split(".")[0] == name


@pytest.mark.parametrize("name", sorted(fields.CHAT.checked))
def test_null_counts_as_absent(name: str) -> None:
    """The official client sends null for what it does not set."""
    assert fields.CHAT.apply({name: None}, Limits()) == {}


@pytest.mark.parametrize("name", ["n", "max_tokens", "max_completion_tokens", "min_tokens"])
def test_whole_numbers_pass(name: str) -> None:
    """The check must not refuse what is right."""
    assert fields.CHAT.apply({name: 3}, Limits()) == {name: 3}


def test_an_unknown_field_is_refused_by_name() -> None:
    """A new engine's field may break metering before anyone has read its code."""
    with pytest.raises(FieldUnsupported) as refusal:
        fields.CHAT.apply({"warp_speed": 9}, Limits())
    assert refusal.value.message == "Unrecognized request argument supplied: warp_speed"
    assert refusal.value.param == "warp_speed"
    assert fields.CHAT.apply({"warp_speed": 9}, Limits(extra_fields=frozenset({"warp_speed"}))) == {
        "warp_speed": 9
    }


def test_a_long_unknown_name_is_not_sent_back_whole() -> None:
    """A name of a megabyte came back twice in the answer."""
    with pytest.raises(FieldUnsupported) as refusal:
        fields.CHAT.apply({"x" * 1_000_000: 9}, Limits())
    assert len(refusal.value.body()) < 1000


def test_what_no_engine_acts_on_is_dropped() -> None:
    """OpenAI's own fields must not make an app that sends them fail; a request_id is ours to set."""
    sent = {"store": True, "metadata": {"a": "b"}, "request_id": "mine", "service_tier": "auto", "top_p": 1}
    assert fields.CHAT.apply(sent, Limits()) == {"top_p": 1}


@pytest.mark.parametrize(
    ("value", "count"),
    [
        ("hello", 1),
        ("", 1),
        ([1, 2, 3], 1),
        (["a", "b"], 2),
        ([[1], [2, 3], []], 3),
        ([], 0),
        (None, 0),
        (5, 0),
        ({}, 0),
        ([True, False], 0),
        ([1, True], 0),
        ([1, "a"], 0),
        (["a", 1], 0),
        (["a", ["b"]], 0),
        ([[1], "a"], 0),
        ([1.5], 0),
        ([{}], 0),
        ([None], 0),
    ],
)
def test_prompts_are_counted(value: Any, count: int) -> None:
    """The number of prompts decides how many choices the meter expects."""
    assert fields.prompts_in(value) == count


def test_prompt_lists_are_bounded() -> None:
    """One request must not be ten thousand."""
    with pytest.raises(FieldRefused):
        fields.COMPLETIONS.apply({"prompt": ["a"] * 2049}, Limits())
    fields.COMPLETIONS.apply({"prompt": ["a"] * 2048}, Limits())
