"""A body read once: what the engine gets is what is metered."""

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from proxy.call import COMPLETIONS_DEFAULT_TOKENS, capped, read_call
from proxy.endpoints import CHAT, COMPLETIONS, EMBEDDINGS, GENERATE, Endpoint
from proxy.errors import ApiError, BodyUnreadable, FieldMissing, FieldRefused
from proxy.fields import Limits
from proxy.stream import UsageWish

MESSAGES = [{"role": "user", "content": "hi"}]
CHAT_BODY = {"model": "m", "messages": MESSAGES}


def read(body: Any, endpoint: Endpoint = CHAT) -> Any:
    return read_call(endpoint, body if isinstance(body, bytes) else json.dumps(body).encode(), Limits())


def engine_sees(body: Any, endpoint: Endpoint = CHAT, salt: str | None = None) -> Any:
    """The engine's body as Python's own reader, which vLLM uses, reads it."""
    return json.loads(read(body, endpoint).engine_body(salt))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"hello",
        b"[]",
        b'"x"',
        b"1",
        b"null",
        b"true",
        b'{"model":"m"',
        b'{"model":"m"} {"n":2}',
        b'{"model":"m"}x',
        b"{'model':'m'}",
        b'{"model":"m",}',
        b'{"model":NaN}',
        b'{"temperature":Infinity}',
        b'{"temperature":1e400}',
        b'{"temperature":-1e400}',
        b'{"model":"\xff"}',
        b'{"model":"\xed\xa0\x80"}',
        b'{"model":"\\ud800"}',
        b'{"\\ud800":"m"}',
        b'{"model":"m\n"}',
        b"\xef\xbb\xbf" + json.dumps(CHAT_BODY).encode(),
        json.dumps(CHAT_BODY).encode("utf-16"),
        json.dumps(CHAT_BODY).encode("utf-16-le"),
        json.dumps(CHAT_BODY).encode("utf-32"),
        b'{"messages":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"a":' * 50_000,
    ],
)
def test_what_is_not_one_json_object_in_utf8_is_refused(body: bytes) -> None:
    """vLLM takes UTF-16, a BOM and NaN; a proxy that reads these otherwise than its engine meters another
    call.
    """
    with pytest.raises(BodyUnreadable):
        read(body)


@pytest.mark.parametrize("depth", [*range(900, 1010, 5), 995, 996, 997, 998, 999])
def test_a_deep_body_is_carried_or_refused(depth: int) -> None:
    """A depth that can be read and not written ended as our own failure, 500."""
    body = b'{"model":"m","messages":[{"role":"user"}],"logit_bias":' + b"[" * depth + b"]" * depth + b"}"
    try:
        call = read(body)
    except BodyUnreadable:
        return
    assert call.engine_body("salt")


def test_of_duplicate_keys_the_engine_sees_what_is_metered() -> None:
    """`n: 1` for the meter and `n: 9` for the engine."""
    body = b'{"model":"m","n":9,"stream":true,"messages":[{"a":1}],"n":1,"\\u006e":3,"stream":false}'
    call = read(body)
    pairs = json.loads(call.engine_body(None), object_pairs_hook=list)
    assert [value for name, value in pairs if name == "n"] == [3]
    assert [value for name, value in pairs if name == "stream"] == [False]
    assert call.choices == 3 and call.stream is False


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
PASSED = st.sampled_from(sorted(CHAT.table.passed))
METERED = st.sampled_from(["n", "stream", "max_tokens", "stream_options", "include_reasoning", "model"])


@given(
    st.lists(st.tuples(PASSED | METERED, JSON), max_size=6),
    st.booleans(),
    st.sampled_from([None, "salt"]),
)
@example([("seed", 10**40)], True, None)
@example([("seed", -(10**40)), ("n", 2), ("n", True)], False, None)
@example([("stream", True), ("n", 3)], True, None)
@settings(max_examples=300, deadline=None)
def test_the_engine_reads_the_call_that_is_metered(
    members: list[tuple[str, Any]], escaped: bool, salt: str | None
) -> None:
    """Whatever was sent: the engine's body says the same as the call, and the client's values as they
    were.
    """
    text = ",".join(
        f"{json.dumps(name)}:{json.dumps(value, ensure_ascii=escaped)}" for name, value in members
    )
    body = ('{"messages":[{"role":"user"}],"model":"m"' + ("," + text if text else "") + "}").encode(
        "utf-8", "surrogatepass"
    )
    try:
        call = read(body)
    except ApiError:
        return
    seen = json.loads(call.engine_body(salt))
    sent = json.loads(body)
    assert (seen.get("n") or 1) == call.choices == call.choices_per_prompt
    assert bool(seen.get("stream")) is call.stream
    assert seen["model"] == call.model
    usage = {"include_usage": True, "continuous_usage_stats": True}
    assert seen.get("stream_options") == (usage if call.stream else None)
    if salt:
        assert len(seen["cache_salt"]) == (4 if "cache_salt" not in sent else 64)
    for name in CHAT.table.passed & sent.keys():
        assert seen[name] == sent[name], name
        assert type(seen[name]) is type(sent[name])


@pytest.mark.parametrize(
    ("options", "wish"),
    [
        (None, UsageWish.NONE),
        ({}, UsageWish.NONE),
        ({"include_usage": None}, UsageWish.NONE),
        ({"include_usage": False}, UsageWish.NONE),
        ({"continuous_usage_stats": True}, UsageWish.NONE),
        ({"include_usage": False, "continuous_usage_stats": True}, UsageWish.NONE),
        ({"include_usage": True}, UsageWish.FINAL),
        ({"include_usage": True, "continuous_usage_stats": False}, UsageWish.FINAL),
        ({"include_usage": True, "include_obfuscation": True}, UsageWish.FINAL),
        ({"include_usage": True, "continuous_usage_stats": True}, UsageWish.RUNNING),
    ],
)
def test_the_clients_wish_is_kept_and_the_engine_asked_for_all(options: Any, wish: UsageWish) -> None:
    """Without running usage a disconnect could not be counted."""
    body = {**CHAT_BODY, "stream": True, "stream_options": options}
    assert read(body).wish is wish
    assert engine_sees(body)["stream_options"] == {"include_usage": True, "continuous_usage_stats": True}


def test_stream_options_without_stream_are_refused() -> None:
    """As the engine and OpenAI refuse them."""
    with pytest.raises(FieldRefused) as refusal:
        read({**CHAT_BODY, "stream_options": {"include_usage": True}})
    assert refusal.value.param == "stream_options"
    assert "stream_options" not in engine_sees({**CHAT_BODY, "stream_options": None})


def test_silent_tokens_are_asked_for() -> None:
    """A tool parser makes tokens without a chunk; only `return_token_ids` tells of them."""
    streamed = {**CHAT_BODY, "stream": True, "tools": [{"type": "function"}]}
    assert read(streamed).silence and engine_sees(streamed)["return_token_ids"] is True
    assert not read({**streamed, "return_token_ids": True}).silence
    assert read({**streamed, "return_token_ids": False}).silence
    assert engine_sees({**streamed, "return_token_ids": False})["return_token_ids"] is True
    assert not read({**streamed, "stream": False}).silence
    assert "return_token_ids" not in engine_sees({**streamed, "stream": False})
    assert not read({**CHAT_BODY, "stream": True, "tools": None}).silence


def test_hidden_reasoning_is_asked_for() -> None:
    """With `include_reasoning: false` nothing at all is told while the model thinks."""
    streamed = {**CHAT_BODY, "stream": True, "include_reasoning": False}
    assert read(streamed).hide_reasoning and engine_sees(streamed)["include_reasoning"] is True
    assert not read({**streamed, "include_reasoning": True}).hide_reasoning
    assert engine_sees({**streamed, "stream": False})["include_reasoning"] is False


def test_the_salt_is_the_tenants() -> None:
    """A client's own salt, sent on as it is, would let tenants share a cache at will."""
    assert engine_sees(CHAT_BODY)["model"] == "m" and "cache_salt" not in engine_sees(CHAT_BODY)
    assert engine_sees(CHAT_BODY, salt="t1")["cache_salt"] == "t1"
    own = {**CHAT_BODY, "cache_salt": "mine"}
    salts = {engine_sees(own, salt=salt)["cache_salt"] for salt in ("t1", "t2")}
    assert len(salts) == 2 and not salts & {"t1", "t2", "mine"}
    assert engine_sees(own, salt="t1") == engine_sees(own, salt="t1")
    # A client that knows another's salt or its form gains nothing by sending it.
    assert engine_sees({**CHAT_BODY, "cache_salt": "t2"}, salt="t1")["cache_salt"] != "t2"
    assert engine_sees({**CHAT_BODY, "cache_salt": ""}, salt="t1")["cache_salt"] == "t1"
    assert engine_sees(own)["cache_salt"] == "mine"


@pytest.mark.parametrize(
    ("endpoint", "body", "param"),
    [
        (CHAT, {"messages": MESSAGES}, "model"),
        (CHAT, {"messages": MESSAGES, "model": ""}, "model"),
        (CHAT, {"messages": MESSAGES, "model": None}, "model"),
        (CHAT, {"model": "m"}, "messages"),
        (CHAT, {"model": "m", "messages": None}, "messages"),
        (COMPLETIONS, {"model": "m"}, "prompt"),
        (COMPLETIONS, {"model": "m", "prompt": None}, "prompt"),
        (EMBEDDINGS, {"model": "m"}, "input"),
        (GENERATE, {"model": "m"}, "prompt"),
        (GENERATE, {"prompt": "x"}, "model"),
    ],
)
def test_a_missing_field_is_named(endpoint: Endpoint, body: Any, param: str) -> None:
    """vLLM takes a missing model for its own first; who pays for that?"""
    with pytest.raises(FieldMissing) as refusal:
        read(body, endpoint)
    assert refusal.value.param == param


def test_generate_takes_the_only_model() -> None:
    """The simple way in has one field that must be there."""
    call = read_call(GENERATE, b'{"prompt":"x"}', Limits(), "only")
    assert call.model == "only" and json.loads(call.engine_body(None)) == {"prompt": "x", "model": "only"}
    with pytest.raises(FieldMissing):
        read_call(CHAT, json.dumps({"messages": MESSAGES}).encode(), Limits(), "only")


def test_choices_are_n_for_each_prompt() -> None:
    """The meter has to know which choice belongs to which prompt."""
    call = read({"model": "m", "prompt": ["a", "b", "c"], "n": 2}, COMPLETIONS)
    assert (call.choices_per_prompt, call.choices) == (2, 6)
    call = read({"model": "m", "prompt": [1, 2, 3], "n": 2}, COMPLETIONS)
    assert (call.choices_per_prompt, call.choices) == (2, 2)
    with pytest.raises(FieldRefused):
        read({"model": "m", "prompt": ["a"] * 1000, "n": 3}, COMPLETIONS)
    assert read({"model": "m", "input": ["a", "b"]}, EMBEDDINGS).choices == 1


ASKED = st.one_of(st.none(), st.integers(0, 400))


@given(
    asked=ASKED,
    first=ASKED,
    least=ASKED,
    n=st.sampled_from([None, 1, 3]),
    stream=st.booleans(),
    affordable=st.integers(0, 1000),
    endpoint=st.sampled_from([CHAT, COMPLETIONS, GENERATE]),
)
@settings(max_examples=400)
def test_a_capped_call_asks_for_no_more_than_it_may_and_than_it_did(
    asked: int | None,
    first: int | None,
    least: int | None,
    n: int | None,
    stream: bool,
    affordable: int,
    endpoint: Endpoint,
) -> None:
    """An answer longer than a budget affords; or one longer than the client asked for, on its bill."""
    body: dict[str, Any] = {"model": "m", "max_tokens": asked or None if endpoint is GENERATE else asked}
    if endpoint is CHAT:
        body |= {"messages": MESSAGES, "max_completion_tokens": first, "min_tokens": least, "n": n}
    elif endpoint is COMPLETIONS:
        body |= {"prompt": ["a", "b"], "min_tokens": least, "n": n}
    else:
        body |= {"prompt": "a"}
    if endpoint is not GENERATE:
        body["stream"] = stream
    call = read(body, endpoint)
    before = dict(call.fields)
    less = capped(call, affordable)
    each = max(1, affordable // call.choices)
    assert call.fields == before

    def allowed(fields: dict[str, Any]) -> float:
        """What each choice may make, as vLLM reads it."""
        if endpoint is CHAT:
            wins = fields.get("max_completion_tokens")
            wins = fields.get("max_tokens") if wins is None else wins
            return float("inf") if wins is None else wins
        return fields.get("max_tokens", COMPLETIONS_DEFAULT_TOKENS)

    assert allowed(less.fields) == min(allowed(before), each)
    assert (less.fields.get("min_tokens") or 0) <= max(each, 0)
    changed = {name for name in less.fields if less.fields[name] != before.get(name)}
    assert changed <= {"max_tokens", "max_completion_tokens", "min_tokens"}
    assert all(less.fields[name] <= before[name] for name in changed if name in before)
    assert bool(changed) == (less is not call)
    assert (less.stream, less.wish, less.choices) == (call.stream, call.wish, call.choices)


def test_embeddings_have_nothing_to_cap() -> None:
    """A `max_tokens` on /v1/embeddings is refused by the engine."""
    call = read({"model": "m", "input": "a"}, EMBEDDINGS)
    assert capped(call, 1) is call
