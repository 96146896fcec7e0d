"""What the simulator says, key by key in the order in which vLLM says it."""

import json
from typing import Any

import pytest

from proxy.simulator import SimulatorConfig
from proxy.simulator.chat import read_chat
from proxy.simulator.chat_rendering import ChatEvents, chat_answer
from proxy.simulator.completions import CompletionEvents, completion_answer, read_completion
from proxy.simulator.errors import EngineRefusal
from proxy.simulator.generation import Step, generate
from proxy.simulator.heads import Head
from proxy.simulator.usage import CacheUse

CONFIG = SimulatorConfig(models=("tiny",), max_model_len=512)
HEAD = Head("chatcmpl-1", 7, "tiny", "vllm-x")
HI = [{"role": "user", "content": "hi"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
BOTH = {"include_usage": True, "continuous_usage_stats": True}


def chat_events(body: dict[str, Any], config: SimulatorConfig = CONFIG) -> list[dict[str, Any]]:
    """All events of a streamed chat, but for [DONE]."""
    call = read_chat({"messages": HI, "stream": True, **body}, "tiny", config)
    events = ChatEvents(call, HEAD, CacheUse(), details=config.prompt_tokens_details)
    out = events.opening()
    counts = []
    for choice in range(call.sampling.n):
        steps = list(generate(call.tokens(0, choice), call.sampling.limits(call.room_tokens)))
        for generated, step in enumerate(steps, start=1):
            event = events.chunk(choice, step, (step.token,), generated)
            if event is not None:
                out.append(event)
        counts.append(len(steps))
    return [json.loads(event.removeprefix(b"data: ")) for event in out + events.closing(counts)]


def keys(value: dict[str, Any]) -> list[str]:
    return list(value)


HEAD_KEYS = ["id", "object", "created", "model", "choices"]


def test_chat_events_have_the_engines_keys_in_its_order() -> None:
    """A meter that was tested against other shapes than the engine's is not tested."""
    first, middle, *_, last, final = chat_events({"max_tokens": 4, "stream_options": BOTH})
    assert keys(first) == [*HEAD_KEYS, "usage", "prompt_token_ids", "prompt_text"]
    assert keys(first["choices"][0]) == ["index", "delta", "logprobs", "finish_reason"]
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert keys(first["usage"]) == [
        "prompt_tokens",
        "total_tokens",
        "completion_tokens",
        "completion_tokens_details",
    ]
    assert keys(middle) == [*HEAD_KEYS, "usage"]
    assert keys(middle["choices"][0]) == ["index", "delta", "logprobs", "finish_reason", "token_ids"]
    assert keys(last["choices"][0]) == [
        "index",
        "delta",
        "logprobs",
        "finish_reason",
        "stop_reason",
        "token_ids",
    ]
    assert last["choices"][0]["finish_reason"] == "length"
    assert keys(final) == [*HEAD_KEYS, "usage", "system_fingerprint"]
    assert final["choices"] == []
    assert keys(final["usage"]) == ["prompt_tokens", "total_tokens", "completion_tokens"]


@pytest.mark.parametrize("options", [None, {"continuous_usage_stats": True}])
def test_without_include_usage_there_is_no_usage(options: dict[str, bool] | None) -> None:
    """continuous_usage_stats alone is silently ignored; the fingerprint moves to the finishing event."""
    body: dict[str, Any] = {"max_tokens": 3} | ({"stream_options": options} if options else {})
    events = chat_events(body)
    assert not any("usage" in event for event in events)
    assert [("system_fingerprint" in event) for event in events] == [False] * (len(events) - 1) + [True]


def test_running_usage_is_per_choice_and_the_final_one_is_all() -> None:
    """A meter that takes the last chunk's usage of an n > 1 stream bills a fraction."""
    events = chat_events({"n": 2, "max_tokens": 3, "temperature": 1, "stream_options": BOTH})
    last = {event["choices"][0]["index"]: event["usage"] for event in events if event["choices"]}
    assert [usage["completion_tokens"] for usage in last.values()] == [3, 3]
    assert events[-1]["usage"]["completion_tokens"] == 6
    assert events[-1]["usage"]["prompt_tokens"] == last[0]["prompt_tokens"]


def test_tool_tokens_are_silent_unless_ids_are_asked_for() -> None:
    """Tokens that no chunk tells of are the ones a disconnect would leave unbilled."""
    body = {"tools": [WEATHER], "tool_choice": "required", "stream_options": BOTH}
    silent = [event["usage"]["completion_tokens"] for event in chat_events(body)]
    assert silent[0] == 0
    assert silent[1] > 5
    every = [event["usage"]["completion_tokens"] for event in chat_events({**body, "return_token_ids": True})]
    assert every == [*range(every[-1] + 1), every[-1]]


def test_streamed_tool_arguments_are_the_unstreamed_ones() -> None:
    """A client that joins the deltas must get the call that an unstreamed answer shows."""
    body = {"messages": [{"role": "user", "content": "What is the weather in Paris?"}], "tools": [WEATHER]}
    calls = [
        event["choices"][0]["delta"]["tool_calls"][0]["function"]
        for event in chat_events(body)
        if event["choices"] and "tool_calls" in event["choices"][0]["delta"]
    ]
    assert calls[0] == {"name": "get_weather"}
    arguments = "".join(call["arguments"] for call in calls[1:])
    assert json.loads(arguments) == {"city": "Paris"}
    message = answer(body)["choices"][0]["message"]
    assert message["tool_calls"][0]["function"] == {"name": "get_weather", "arguments": arguments}
    assert keys(message)[-2:] == ["tool_calls", "reasoning"]


@pytest.mark.parametrize(
    ("choice", "reason"),
    [("required", "tool_calls"), ({"type": "function", "function": {"name": "get_weather"}}, "stop")],
)
def test_a_named_tool_finishes_with_stop(choice: Any, reason: str) -> None:
    """vLLM says `stop` for a named tool and `tool_calls` for a required one."""
    assert answer({"tools": [WEATHER], "tool_choice": choice})["choices"][0]["finish_reason"] == reason


def test_hidden_reasoning_is_silent_even_with_token_ids() -> None:
    """include_reasoning: false lets nothing out until the thought is over."""
    config = SimulatorConfig(models=("tiny",), reasoning=True)
    hidden = chat_events(
        {"include_reasoning": False, "return_token_ids": True, "stream_options": BOTH}, config
    )
    shown = chat_events({"stream_options": BOTH}, config)
    assert hidden[1]["usage"]["completion_tokens"] > 10
    assert shown[1]["choices"][0]["delta"].keys() == {"reasoning"}
    assert hidden[-1]["usage"] == shown[-1]["usage"]
    assert shown[-1]["usage"]["completion_tokens_details"]["reasoning_tokens"] > 10


def answer(body: dict[str, Any], config: SimulatorConfig = CONFIG) -> dict[str, Any]:
    """The unstreamed chat answer."""
    call = read_chat({"messages": HI, **body}, "tiny", config)
    limits = call.sampling.limits(call.room_tokens)
    made = [list(generate(call.tokens(0, choice), limits)) for choice in range(call.sampling.n)]
    return json.loads(chat_answer(call, HEAD, CacheUse(), made, config.prompt_tokens_details))


def test_the_chat_answer_has_the_engines_keys() -> None:
    """Nulls are there, in the engine's order: a proxy that strips must strip these."""
    said = answer({"max_tokens": 3})
    assert keys(said) == [
        *HEAD_KEYS, "service_tier", "system_fingerprint", "usage", "prompt_logprobs", "prompt_token_ids",
        "prompt_text", "kv_transfer_params", "ec_transfer_params", "metrics",
    ]  # fmt: skip
    assert keys(said["choices"][0]) == [
        "index", "message", "logprobs", "finish_reason", "stop_reason", "token_ids", "routed_experts",
    ]  # fmt: skip
    assert keys(said["choices"][0]["message"]) == [
        "role", "content", "refusal", "annotations", "audio", "function_call", "reasoning",
    ]  # fmt: skip
    assert keys(said["usage"]) == [
        "prompt_tokens", "total_tokens", "completion_tokens", "prompt_tokens_details",
        "completion_tokens_details",
    ]  # fmt: skip


def test_completion_events_and_answer_have_the_engines_keys() -> None:
    """Completions differ from chat: no role, stop_reason in all, no completion_tokens_details."""
    call = read_completion(
        {"prompt": ["hi", "a b"], "max_tokens": 2, "stream": True, "stream_options": BOTH}, "tiny", CONFIG
    )
    events = CompletionEvents(call, HEAD, CacheUse(), details=True)
    assert events.opening() == []
    chunk = json.loads((events.chunk(1, Step(9, "x"), (9,), 1) or b"").removeprefix(b"data: "))
    assert keys(chunk) == [*HEAD_KEYS, "usage"]
    assert keys(chunk["choices"][0]) == [
        "index", "text", "logprobs", "finish_reason", "stop_reason", "prompt_token_ids", "token_ids",
    ]  # fmt: skip
    assert chunk["usage"] == {"prompt_tokens": 3, "total_tokens": 4, "completion_tokens": 1}
    (final,) = events.closing([2, 2])
    assert json.loads(final.removeprefix(b"data: "))["usage"] == {
        "prompt_tokens": 4, "total_tokens": 8, "completion_tokens": 4,
        "prompt_tokens_details": {"cached_tokens": 0},
    }  # fmt: skip
    said = json.loads(completion_answer(call, HEAD, CacheUse(), [[Step(9, "x", "length")]] * 2, False))
    assert keys(said) == [
        *HEAD_KEYS, "service_tier", "system_fingerprint", "usage", "kv_transfer_params",
        "ec_transfer_params", "metrics",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("body", "message", "param"),
    [
        (
            {"max_tokens": 0},
            "max_tokens must be at least 1, got 0. (parameter=max_tokens, value=0)",
            "max_tokens",
        ),
        ({"n": 2, "temperature": 0}, "n must be 1 when using greedy sampling, got 2.", None),
        ({"n": 0}, "n must be at least 1, got 0.", None),
        (
            {"stream_options": {"include_usage": True}},
            "Stream options can only be defined when `stream=True`. (parameter=stream_options)",
            "stream_options",
        ),
        (
            {"temperature": float("nan")},
            "temperature must be a finite number, got nan. (parameter=temperature, value=nan)",
            "temperature",
        ),
        (
            {"messages": []},
            "Cannot apply chat template to an empty conversation. Provide at least one message.",
            None,
        ),
    ],
)  # fmt: skip
def test_refusals_are_the_engines_words(body: dict[str, Any], message: str, param: str | None) -> None:
    """The proxy translates the engine's errors: it must meet the real ones."""
    with pytest.raises(EngineRefusal) as refused:
        read_chat({"messages": HI, **body}, "tiny", CONFIG)
    assert json.loads(refused.value.body()) == {
        "error": {"message": message, "type": "BadRequestError", "param": param, "code": 400}
    }


@pytest.mark.parametrize("value", [4, "4", 4.0])
def test_integers_are_coerced_as_the_engine_does(value: Any) -> None:
    """A proxy that reads "4" or 4.0 otherwise meters another request than the engine runs."""
    assert answer({"max_tokens": value})["usage"]["completion_tokens"] == 4
