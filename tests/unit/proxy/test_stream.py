"""What a client is told of an engine's stream, and what is metered of it, however the bytes came."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.stream import CompletionStream, UsageWish
from tests.unit.proxy import generated
from tests.unit.proxy.reference import VECTORS, meaning, metered, pieces, relayed, vector

INDEX = json.loads((VECTORS / "index.json").read_text())
RUNNING = sorted(
    name
    for name, entry in INDEX.items()
    if entry["file"].endswith(".sse")
    and (entry["request"].get("stream_options") or {}).keys() == {"include_usage", "continuous_usage_stats"}
)
WISHES = list(UsageWish)


def new_stream(name: str, wish: UsageWish, **more: Any) -> CompletionStream:
    request = INDEX[name]["request"]
    n = request.get("n", 1)
    prompts = len(request["prompt"]) if isinstance(request.get("prompt"), list) else 1
    return CompletionStream(wish, choices_per_prompt=n, choices=n * prompts, **more)


def carried(stream: CompletionStream, parts: list[bytes]) -> bytes:
    return b"".join(stream.feed(part) for part in parts)


def read(stream: CompletionStream) -> tuple[int, int, int, str]:
    usage, source = stream.meter.reading()
    return usage.prompt_tokens, usage.cached_prompt_tokens, usage.completion_tokens, source.value


def test_the_vectors_are_there() -> None:
    """A renamed folder would leave the tests below without a case."""
    assert len(RUNNING) >= 10


@pytest.mark.parametrize("wish", WISHES)
@pytest.mark.parametrize("name", RUNNING)
def test_a_recorded_stream_is_relayed_and_metered(name: str, wish: UsageWish) -> None:
    """Real vLLM bytes: nothing but the usage may change, and the count is the engine's."""
    whole = vector(name)
    n = INDEX[name]["request"].get("n", 1)
    for parts in ([whole], [whole[at : at + 1] for at in range(len(whole))], whole.splitlines(keepends=True)):
        stream = new_stream(name, wish)
        out = carried(stream, parts)
        assert meaning(out) == relayed(whole, wish)
        assert read(stream) == metered(whole, n=n)
        assert stream.done and stream.failed is None


@pytest.mark.parametrize("wish", WISHES)
@pytest.mark.parametrize("name", RUNNING)
def test_no_event_of_a_recorded_stream_is_delayed(name: str, wish: UsageWish) -> None:
    """An event held back to be metered with the next one costs every token a beat."""
    whole = vector(name)
    stream, said, at = new_stream(name, wish), b"", 0
    for event in whole.split(b"\n\n")[:-1]:
        at += len(event) + 2
        said += stream.feed(event + b"\n\n")
        assert meaning(said) == relayed(whole[:at], wish)
        if not stream.meter.is_final:
            assert read(stream) == metered(whole[:at], n=INDEX[name]["request"].get("n", 1))


@pytest.mark.parametrize("wish", WISHES)
@given(random=st.randoms(use_true_random=False), name=st.sampled_from(RUNNING))
@settings(max_examples=60, deadline=None)
def test_any_split_of_a_recorded_stream_relays_the_same_bytes(
    wish: UsageWish, random: Any, name: str
) -> None:
    """The relayed bytes depended on where TCP cut the engine's."""
    whole = vector(name)
    at_once, cut = new_stream(name, wish), new_stream(name, wish)
    assert carried(cut, pieces(whole, random)) == carried(at_once, [whole])
    assert read(cut) == read(at_once)


@given(data=st.data(), random=st.randoms(use_true_random=False))
@settings(max_examples=250, deadline=None)
def test_any_stream_is_read_as_the_slow_reference_reads_it(data: Any, random: Any) -> None:
    """The byte search must never take a text for a member, nor two paths read an event differently."""
    n = data.draw(st.sampled_from([1, 1, 2, 3]))
    chat = data.draw(st.booleans())
    whole = data.draw(generated.streams(n=n, chat=chat))
    per_prompt = n if chat else 1
    complete = whole[: whole.rfind(b"\n\n") + 2] if b"\n\n" in whole else b""
    cuts = ([whole], pieces(whole, random))
    for wish in WISHES:  # each stream for every wish: making streams up takes longer than reading them
        for parts in cuts:
            stream = CompletionStream(wish, choices_per_prompt=per_prompt, choices=n)
            out = carried(stream, parts)
            assert meaning(out) == relayed(complete, wish), wish
            assert read(stream) == metered(complete, n=per_prompt), wish
            assert stream.done == ("[DONE]" in relayed(complete, wish)), wish


@given(data=st.data(), random=st.randoms(use_true_random=False))
@settings(max_examples=150, deadline=None)
def test_a_split_never_changes_the_relayed_bytes(data: Any, random: Any) -> None:
    """With silence, hidden reasoning and a fingerprint set, too: where the cut falls is nobody's wish."""
    whole = data.draw(generated.streams(n=2))
    wish = data.draw(st.sampled_from(WISHES))
    settings_of = {
        "choices_per_prompt": 2,
        "choices": 2,
        "silence": data.draw(st.booleans()),
        "hide_reasoning": data.draw(st.booleans()),
        "fingerprint": data.draw(st.sampled_from([None, "vllm-0"])),
    }
    at_once, cut = CompletionStream(wish, **settings_of), CompletionStream(wish, **settings_of)
    assert carried(at_once, [whole]) == carried(cut, pieces(whole, random))
    assert read(at_once) == read(cut)


def without_ids(stream: bytes) -> list[Any]:
    """What a stream says but for the names that differ from one request to the next."""
    return [
        chunk.without("id").without("created") if isinstance(chunk, list) else chunk
        for chunk in meaning(stream)
    ]


def test_who_asked_for_no_usage_gets_the_engines_own_stream() -> None:
    """The same request without our stream_options, as recorded: members, order, fingerprint."""
    stream = CompletionStream(UsageWish.NONE, fingerprint="vllm-0.32.0-46b3a08d")
    assert without_ids(carried(stream, [vector("chat_stream_continuous")])) == without_ids(
        vector("chat_stream")
    )


def test_who_asked_for_final_usage_gets_openais_form() -> None:
    """As vLLM's include_usage, with OpenAI's `usage: null` on each chunk before the last."""
    told = without_ids(carried(CompletionStream(UsageWish.FINAL), [vector("chat_stream_continuous")]))
    assert all(chunk.get("usage") is None and ("usage", None) in chunk for chunk in told[:-2])
    bare = [chunk.without("usage") if chunk.get("choices") else chunk for chunk in told[:-1]]
    assert [*bare, "[DONE]"] == without_ids(vector("chat_stream_usage"))


def test_silent_tokens_are_counted_and_unseen() -> None:
    """A tool parser's silence left up to twenty tokens uncounted at a disconnect."""
    loud, plain = vector("chat_stream_tools_token_ids"), vector("chat_stream_tools_continuous")
    stream = CompletionStream(UsageWish.RUNNING, silence=True)
    told = without_ids(carried(stream, [loud]))
    # The recorded calls are one but for max_tokens: the loud one ends after the tool's name.
    assert told[:2] == without_ids(plain)[:2]
    assert [chunk.get("choices")[0].get("finish_reason") for chunk in told[2:-2]] == ["length"]
    counts = []
    stream = CompletionStream(UsageWish.NONE, silence=True)
    for event in loud.split(b"\n\n")[:-2]:
        stream.feed(event + b"\n\n")
        counts.append(read(stream)[2])
    assert counts == [0, *range(2, 21), 20]


def test_logprobs_of_silent_tokens_are_passed_on() -> None:
    """With `logprobs` the engine itself sends a chunk for each silent token: it is not ours to drop."""
    chunk = {
        "choices": [
            {
                "index": 0,
                "delta": {},
                "logprobs": {"content": [{"token": "a", "logprob": -1.5}]},
                "finish_reason": None,
                "token_ids": [1],
            }
        ],
        "usage": {"prompt_tokens": 1, "total_tokens": 2, "completion_tokens": 1},
    }
    out = CompletionStream(UsageWish.NONE, silence=True).feed(f"data: {json.dumps(chunk)}\n\n".encode())
    [told] = [json.loads(line[6:]) for line in out.splitlines() if line]
    assert told["choices"][0]["logprobs"] == chunk["choices"][0]["logprobs"]
    assert told["choices"][0]["token_ids"] is None


def test_hidden_reasoning_is_counted_and_unseen() -> None:
    """`include_reasoning: false` told nothing until the end: thinking was free."""
    thinking = vector("think_stream_continuous")
    stream = CompletionStream(UsageWish.RUNNING, hide_reasoning=True)
    told = without_ids(carried(stream, [thinking]))
    assert told == without_ids(vector("think_stream_hidden_continuous"))
    stream = CompletionStream(UsageWish.NONE, hide_reasoning=True)
    stream.feed(thinking[: thinking.index(b'"roperties"')].rpartition(b"data: ")[0])
    assert read(stream) == (16, 0, 4, "running")


def test_hidden_reasoning_does_not_show_in_logprobs() -> None:
    """The tokens of a hidden thought are its text."""
    token = {"token": "secret", "logprob": -1.0}
    chunk = {
        "index": 0,
        "delta": {"reasoning": "secret"},
        "logprobs": {"content": [token]},
        "finish_reason": None,
    }
    for finish_reason in (None, "length"):
        event = json.dumps({"choices": [{**chunk, "finish_reason": finish_reason}]}).encode()
        for silence in (False, True):
            stream = CompletionStream(UsageWish.NONE, hide_reasoning=True, silence=silence)
            assert b"secret" not in stream.feed(b"data: " + event + b"\n\n")


@pytest.mark.parametrize(
    ("event", "message"),
    [
        (
            {"error": {"message": "EngineCore died", "type": "InternalServerError", "code": 500}},
            "EngineCore died",
        ),
        ({"object": "error", "message": "too long", "type": "BadRequestError", "code": 400}, "too long"),
        ({"error": "Unauthorized"}, "Unauthorized"),
    ],
)
@pytest.mark.parametrize("together", [True, False])
def test_nothing_of_an_engines_error_is_relayed_nor_what_follows(
    event: dict[str, Any], message: str, together: bool
) -> None:
    """vLLM sends [DONE] after an error: relayed, a broken answer reads as a whole one."""
    whole = vector("chat_stream_continuous").split(b"\n\n")
    before = b"\n\n".join(whole[:3]) + b"\n\n"
    after = b"data: " + json.dumps(event).encode() + b"\n\n" + whole[3] + b"\n\ndata: [DONE]\n\n"
    stream = CompletionStream(UsageWish.NONE)
    parts = [before + after] if together else [one + b"\n\n" for one in (before + after).split(b"\n\n")[:-1]]
    assert meaning(carried(stream, parts)) == relayed(before, UsageWish.NONE)
    assert stream.failed is not None and stream.failed["message"] == message
    assert not stream.done
    assert read(stream) == (16, 0, 2, "running")


@pytest.mark.parametrize(
    "event",
    [
        b"data: not json\n\n",
        b"data: 3\n\n",
        b"data: []\n\n",
        b'data: {"hello":1}\n\n',
        b'data: {"choices":null}\n\n',
        b'data: {"choices":[],"usage":null}\n\n',
        b'data: "\xff"\n\n',
        b"data: " + b"[" * 5000 + b"]" * 5000 + b"\n\n",
        b"event: ping\ndata: {}\n\n",
        b"id: 7\n\n",
    ],
)
@pytest.mark.parametrize("silence", [False, True])
def test_what_is_no_chunk_is_passed_on(event: bytes, silence: bool) -> None:
    """An unknown event must not break the connection's callback: the stream would hang and go unsettled."""
    stream = CompletionStream(UsageWish.NONE, silence=silence)
    assert meaning_or_bytes(stream.feed(event)) == meaning_or_bytes(event)


def meaning_or_bytes(stream: bytes) -> Any:
    try:
        return meaning(stream)
    except (ValueError, RecursionError):
        return stream


def test_a_final_usage_that_makes_no_sense_is_kept_from_the_meter() -> None:
    """More cached than read tokens: the running count stands, and who asked for no usage sees none."""
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 5}}
    chunk = json.dumps({"choices": [], "usage": usage}).encode()
    stream = CompletionStream(UsageWish.NONE)
    before = b"\n\n".join(vector("chat_stream_continuous").split(b"\n\n")[:3]) + b"\n\n"
    stream.feed(before)
    assert stream.feed(b"data: " + chunk + b"\n\n") == b""
    assert read(stream) == (16, 0, 2, "running")
