"""Bounds on what a call may use: too high is a hold too large, too low a limit that is passed."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from proxy import bounds
from proxy.bounds import completion_tokens_max, prompt_tokens_max
from proxy.call import Call, capped, read_call
from proxy.endpoints import CHAT, COMPLETIONS, EMBEDDINGS, ENDPOINTS, Endpoint
from proxy.fields import Limits
from proxy.simulator import SimulatorConfig, prompts
from proxy.simulator.chat import read_chat
from proxy.simulator.completions import read_completion
from proxy.simulator.errors import EngineRefusal
from tests.unit.proxy.reference import VECTORS, vector

INDEX = json.loads((VECTORS / "index.json").read_text())
CONTEXT = 1024
TEXTS = st.one_of(
    st.text(max_size=40),
    st.sampled_from(["", "\U0001f701" * 9, "\x00\x01", '"\\' * 20, "ﷺ", "a" * 2000, "\n" * 50]),
)
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


def read(endpoint: Endpoint, **fields: Any) -> Call:
    return read_call(endpoint, json.dumps({"model": "m", **fields}).encode(), Limits())


def prompt_bound(call: Call, max_model_len: int | None) -> int:
    return prompt_tokens_max(call, len(call.engine_body(None)), max_model_len)


def recorded() -> Iterator[tuple[str, Call, dict[str, Any]]]:
    """Recorded calls with the usage that the engine told."""
    for name, entry in INDEX.items():
        endpoint = ENDPOINTS.get(entry["path"])
        if entry["status"] != 200 or endpoint is None:
            continue
        if entry["file"].endswith(".json"):
            usage = json.loads((VECTORS / entry["file"]).read_text())["usage"]
        else:
            last = vector(name).split(b"\n\n")[-3].removeprefix(b"data: ")
            usage = json.loads(last).get("usage")
        if usage:
            yield name, read_call(endpoint, json.dumps(entry["request"]).encode(), Limits()), usage


RECORDED = list(recorded())


@pytest.mark.parametrize(("name", "call", "usage"), RECORDED, ids=[name for name, _, _ in RECORDED])
def test_a_real_vllm_stays_within_the_bounds(name: str, call: Call, usage: dict[str, Any]) -> None:
    """Its chat template and its tools' JSON are not the simulator's."""
    assert len(RECORDED) >= 15
    for context in (CONTEXT, None):
        assert prompt_bound(call, context) >= usage["prompt_tokens"]
        for known in (0, usage["prompt_tokens"]):
            bound = completion_tokens_max(call, known, context)
            assert bound >= usage.get("completion_tokens", 0)
            assert call.endpoint is not EMBEDDINGS or bound == 0


MESSAGES = st.lists(
    st.fixed_dictionaries(
        {
            "role": st.sampled_from(["user", "assistant", "system", "tool"]),
            "content": st.one_of(
                TEXTS, st.none(), st.lists(st.builds(lambda text: {"type": "text", "text": text}, TEXTS))
            ),
        }
    ),
    min_size=1,
    max_size=12,
)
ASKED = st.one_of(st.none(), st.integers(0, 2 * CONTEXT))


@given(
    messages=MESSAGES,
    asked=ASKED,
    first=ASKED,
    n=st.integers(1, 3),
    tools=st.sampled_from([None, [TOOL], [TOOL] * 3]),
    affordable=st.integers(0, 3 * CONTEXT),
)
@settings(max_examples=300, deadline=None)
def test_a_chat_call_stays_within_its_bounds(
    messages: Any, asked: int | None, first: int | None, n: int, tools: Any, affordable: int
) -> None:
    """Texts of single bytes and empty ones: there the template is more than the text."""
    fields: dict[str, Any] = {"max_tokens": asked, "max_completion_tokens": first, "n": n, "tools": tools}
    fields = {name: value for name, value in fields.items() if value is not None}
    call = read(CHAT, messages=messages, **fields)
    body = json.loads(call.engine_body(None))
    prompt = len(prompts.chat_prompt(body, "m"))
    for context in (max(CONTEXT, prompt + 1), None):
        assert prompt_bound(call, context) >= prompt
    try:
        engines = read_chat(body, "m", SimulatorConfig(max_model_len=CONTEXT))
    except EngineRefusal:
        return
    most = engines.sampling.limits(engines.room_tokens).max_tokens * engines.sampling.n
    exact = completion_tokens_max(call, prompt, CONTEXT)
    assert exact == most  # nothing else is known of an answer that ends only at its bound
    assert completion_tokens_max(call, 0, CONTEXT) >= exact
    assert completion_tokens_max(call, 0, None) >= most
    if affordable < exact:
        less = read_chat(json.loads(capped(call, affordable).engine_body(None)), "m", SimulatorConfig())
        allowed = less.sampling.limits(engines.room_tokens).max_tokens * less.sampling.n
        assert allowed <= max(affordable, n)


IDS = st.lists(st.integers(0, 300), min_size=1, max_size=30)
PROMPTS = st.one_of(
    TEXTS.filter(bool), IDS, st.lists(TEXTS, min_size=1, max_size=4), st.lists(IDS, min_size=1, max_size=4)
)


@example(prompt="a", asked=0, n=2, echo=True)
@given(prompt=PROMPTS, asked=ASKED, n=st.integers(1, 3), echo=st.booleans())
@settings(max_examples=300, deadline=None)
def test_a_completion_stays_within_its_bounds(prompt: Any, asked: int | None, n: int, echo: bool) -> None:
    """Each prompt has a context and choices of its own; token ids are tokens, however short."""
    fields = {"n": n, "echo": echo} | ({} if asked is None else {"max_tokens": asked})
    call = read(COMPLETIONS, prompt=prompt, **fields)
    body = json.loads(call.engine_body(None))
    each = [len(ids) for ids in prompts.completion_prompts(body["prompt"])]
    for context in (max(CONTEXT, max(each) + 1), None):
        assert prompt_bound(call, context) >= sum(each)
    try:
        engines = read_completion(body, "m", SimulatorConfig(max_model_len=CONTEXT))
    except EngineRefusal:
        return
    limits = [engines.sampling.limits(CONTEXT - tokens).max_tokens for tokens in each]
    most = sum(max(1, limit) for limit in limits) * n
    for context in (CONTEXT, None):
        for known in (0, sum(each)):
            assert completion_tokens_max(call, known, context) >= most


@pytest.mark.parametrize("context", [CONTEXT, None])
@given(value=PROMPTS)
@settings(max_examples=100, deadline=None)
def test_embeddings_read_no_more_than_their_bound(context: int | None, value: Any) -> None:
    """Embeddings make nothing, and read each input once."""
    call = read(EMBEDDINGS, input=value)
    tokens = sum(min(len(ids), CONTEXT) for ids in prompts.text_or_tokens(value) or [])
    assert prompt_bound(call, context) >= tokens
    assert completion_tokens_max(call, 0, context) == 0


IMAGE = {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}


@pytest.mark.parametrize(
    "fields",
    [
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "what?"}, IMAGE]}]},
        {"messages": [{"role": "user", "content": [{"image_url": "https://example.org/a.png"}]}]},
        {"messages": [{"role": "user", "content": [{"image_url": "x", "text": "y"}]}]},
        {"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]},
        {"messages": [{"role": "user", "content": [7]}]},
        {"messages": [{"role": "user", "content": "hi"}], "documents": [{"text": "a"}]},
        {"messages": [{"role": "user", "content": "hi"}], "chat_template_kwargs": {"system": "a"}},
    ],
)
def test_what_bytes_do_not_bound_is_bounded_by_the_context(fields: dict[str, Any]) -> None:
    """An address of thirty bytes is an image of thousands of tokens."""
    call = read(CHAT, **fields)
    assert prompt_bound(call, 100_000) == 100_000
    if isinstance(fields["messages"][0]["content"], list):
        assert prompt_bound(call, None) >= bounds.PART_TOKENS


def test_tools_are_bounded_as_a_template_writes_them() -> None:
    """Llama's template writes tools with indents of four: three times their bytes as they are sent."""
    nested: Any = {"enum": list(range(500)), "b": [2, 3, {"c": {}}]}
    tools = [{"type": "function", "function": {"name": "f", "parameters": nested}}] * 3
    call = read(CHAT, messages=[{"role": "user", "content": "hi"}], tools=tools)
    written = sum(len(json.dumps(tool, indent=4)) for tool in tools)
    assert prompt_bound(call, None) >= written + len("hi")
    calls = [{"id": "1", "type": "function", "function": {"name": "f", "arguments": json.dumps(nested)}}]
    said = read(CHAT, messages=[{"role": "assistant", "tool_calls": calls}])
    assert prompt_bound(said, None) >= len(json.dumps(calls, indent=4))


def test_an_answer_without_any_bound_has_a_constant() -> None:
    """An engine that does not tell its context must not make every hold endless."""
    call = read(CHAT, messages=[{"role": "user", "content": "hi"}], n=2)
    assert completion_tokens_max(call, 0, None) == 2 * bounds.COMPLETION_TOKENS
    assert completion_tokens_max(call, 24, CONTEXT) == 2 * (CONTEXT - 24)
