"""A stream that we end ourselves: whatever the engine had said by then, the client's answer is whole."""

import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types import Completion
from openai.types.chat import ChatCompletionChunk

from proxy.stream import CompletionStream, UsageWish
from tests.unit.proxy import generated
from tests.unit.proxy.reference import VECTORS, meaning, pieces, vector

INDEX = json.loads((VECTORS / "index.json").read_text())
ASKED = {"include_usage", "continuous_usage_stats"}
RECORDED = sorted(
    name
    for name, entry in INDEX.items()
    if entry["file"].endswith(".sse") and (entry["request"].get("stream_options") or {}).keys() == ASKED
)
WISHES = list(UsageWish)


def choices_of(name: str) -> tuple[int, int]:
    """(choices, choices per prompt) of a recorded call."""
    request = INDEX[name]["request"]
    n = request.get("n", 1)
    return n * (len(request["prompt"]) if isinstance(request.get("prompt"), list) else 1), n


def recorded_stream(name: str, wish: UsageWish, **more: Any) -> CompletionStream:
    choices, n = choices_of(name)
    return CompletionStream(wish, choices_per_prompt=n, choices=choices, silence="token_ids" in name, **more)


def finishes(chunks: list[Any]) -> Counter[int]:
    """How often each choice was said to be finished."""
    return Counter(
        choice.get("index")
        for chunk in chunks
        if not isinstance(chunk, str)
        for choice in chunk.get("choices")
        if choice.get("finish_reason") is not None
    )


def check_whole(stream: CompletionStream, said: bytes, wish: UsageWish, choices: int) -> None:
    """`said` is a whole answer: every choice finishes once, the usage is the meter's, [DONE] is last."""
    told = meaning(said)
    assert told.count("[DONE]") == 1 and told[-1] == "[DONE]"
    chunks = [chunk for chunk in told if not isinstance(chunk, str)]
    assert finishes(chunks) == dict.fromkeys(range(choices), 1)
    totals = [chunk for chunk in chunks if not chunk.get("choices")]
    if wish is UsageWish.NONE:
        assert not totals and all(chunk.get("usage") is None for chunk in chunks)
        return
    assert totals == chunks[-1:]
    usage, _ = stream.meter.reading()
    total = dict(totals[0].get("usage"))
    assert (total["prompt_tokens"], total["completion_tokens"]) == (
        usage.prompt_tokens,
        usage.completion_tokens,
    )
    assert total["total_tokens"] == usage.prompt_tokens + usage.completion_tokens
    for chunk in chunks[:-1]:
        assert ("usage", None) in chunk if wish is UsageWish.FINAL else chunk.get("usage")


def test_the_vectors_are_there() -> None:
    """A renamed folder would leave the tests below without a case."""
    assert len(RECORDED) >= 10


@pytest.mark.parametrize("wish", WISHES)
@pytest.mark.parametrize("name", RECORDED)
def test_a_recorded_stream_stopped_after_any_event_is_whole(name: str, wish: UsageWish) -> None:
    """A client of a stream that a limit ended waits for its finish_reason, its usage and [DONE]."""
    events = [event + b"\n\n" for event in vector(name).split(b"\n\n")[:-1]]
    choices, _ = choices_of(name)
    for fingerprint in (None, "vllm-0"):
        for stop in range(1, len(events) + 1):
            stream = recorded_stream(name, wish, fingerprint=fingerprint)
            said = b"".join(stream.feed(event) for event in events[:stop])
            check_whole(stream, said + stream.closing(), wish, choices)


@pytest.mark.parametrize("wish", WISHES)
@given(random=st.randoms(use_true_random=False), name=st.sampled_from(RECORDED), data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_stream_stopped_at_any_byte_is_whole_however_it_was_cut(
    wish: UsageWish, random: Any, name: str, data: Any
) -> None:
    """A torn event left in the splitter must not leave, and the end must not depend on TCP's cuts."""
    whole = vector(name)
    first = whole.index(b"\n\n") + 2
    torn = whole[: data.draw(st.integers(first, len(whole)))]
    at_once, cut = recorded_stream(name, wish), recorded_stream(name, wish)
    said = at_once.feed(torn) + at_once.closing()
    assert b"".join(cut.feed(part) for part in pieces(torn, random)) + cut.closing() == said
    check_whole(at_once, said, wish, choices_of(name)[0])


@given(data=st.data(), random=st.randoms(use_true_random=False))
@settings(max_examples=200, deadline=None)
def test_any_stream_is_closed_with_what_it_lacks(data: Any, random: Any) -> None:
    """Texts that look like members, errors, odd orders: only choices that had not finished get an end."""
    n = data.draw(st.sampled_from([1, 2, 3]))
    whole = data.draw(generated.streams(n=n))
    more = {"silence": data.draw(st.booleans()), "fingerprint": data.draw(st.sampled_from([None, "vllm-0"]))}
    for wish in WISHES:
        streams = [CompletionStream(wish, choices_per_prompt=n, choices=n, **more) for _ in range(2)]
        said = streams[0].feed(whole)
        last = streams[0].closing()
        assert b"".join(streams[1].feed(part) for part in pieces(whole, random)) == said
        assert streams[1].closing() == last
        told, added = meaning(said), meaning(last)
        assert (told + added).count("[DONE]") == 1
        if told.count("[DONE]"):
            assert not last
        elif finishes(told) or added[:-1]:
            assert finishes(added) == dict.fromkeys(set(range(n)) - set(finishes(told)), 1)


@pytest.mark.parametrize("wish", WISHES)
@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("chat_stream_n2_continuous", ChatCompletionChunk),
        ("chat_stream_tools_token_ids", ChatCompletionChunk),
        ("completions_stream_list_continuous", Completion),
    ],
)
def test_the_end_has_the_engines_own_shape(name: str, model: Any, wish: UsageWish) -> None:
    """A client with typed chunks refuses what lacks a member; one that compares ids, another id."""
    whole = vector(name)
    engines = [chunk for chunk in meaning(whole) if not isinstance(chunk, str)]
    finish = next(c for c in engines if c.get("choices") and c.get("choices")[0].get("finish_reason"))
    stream = recorded_stream(name, wish)
    stream.feed(whole[: whole.index(b"\n\n") + 2])
    for chunk in [json.loads(line[6:]) for line in stream.closing().split(b"\n\n")[:-2]]:
        model.model_validate(chunk)
        assert all(chunk[member] == finish.get(member) for member in ("id", "object", "created", "model"))
        for choice in chunk["choices"]:
            assert list(choice) == [key for key, _ in finish.get("choices")[0]]
            assert choice["finish_reason"] == "length" and not choice.get("text") and not choice.get("delta")


@pytest.mark.parametrize("start", [b"", b": keep-alive\n\n", b"data: 3\n\n", b'data: {"hello":1}\n\n'])
def test_before_the_first_chunk_there_is_only_the_end(start: bytes) -> None:
    """A chunk made up without an id or a model would be refused; a stream without [DONE] waits for ever."""
    stream = CompletionStream(UsageWish.FINAL)
    stream.feed(start)
    assert stream.closing() == b"data: [DONE]\n\n"
