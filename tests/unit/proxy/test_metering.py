"""The arithmetic over an engine's usage fields."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.usage import Usage, UsageSource
from proxy.metering import StreamMeter, UsageMissing, usage_of_answer
from tests.unit.proxy.reference import VECTORS

INDEX = json.loads((VECTORS / "index.json").read_text())
ANSWERS = [
    name
    for name, entry in INDEX.items()
    if entry["status"] == 200 and entry["file"].endswith(".json") and name not in ("models", "responses")
]


@pytest.mark.parametrize("name", ANSWERS)
def test_a_recorded_answers_usage_is_read(name: str) -> None:
    """Each API family has its own members: embeddings have no completion_tokens at all."""
    body = (VECTORS / INDEX[name]["file"]).read_bytes()
    said = json.loads(body)["usage"]
    cached = (said.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    assert usage_of_answer(body) == Usage(said["prompt_tokens"], cached, said.get("completion_tokens") or 0)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"usage":null}',
        b'{"usage":{"prompt_tokens":"3"}}',
        b'{"usage":{"prompt_tokens":-1}}',
        b'{"usage":{"prompt_tokens":3,"completion_tokens":-1}}',
        b'{"usage":{"prompt_tokens":3,"prompt_tokens_details":{"cached_tokens":4}}}',
        b'{"usage":{"prompt_tokens":3.5}}',
        b'{"a":' + b"[" * 5000 + b"]" * 5000 + b',"usage":{"prompt_tokens":3}}',
        b"<html>",
    ],
)
def test_an_answer_without_usage_says_so(body: bytes) -> None:
    """Another exception would leave the call unsettled; a number made up would bill it."""
    with pytest.raises(UsageMissing):
        usage_of_answer(body)


@pytest.mark.parametrize(
    "body", [b'{"a":"\xff","usage":{"prompt_tokens":3}}', b'{"usage":{"prompt_tokens":3},"a":"\xff"}']
)
def test_what_is_said_beside_the_usage_does_not_matter(body: bytes) -> None:
    """An answer's odd bytes are its client's to read; its tokens were made."""
    assert usage_of_answer(body) == Usage(3, 0, 0)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 50)), max_size=30), st.integers(1, 3))
def test_choices_add_up_and_prompts_are_counted_once(chunks: list[tuple[int, int]], n: int) -> None:
    """vLLM's running usage is per choice: the last one alone was a quarter of the truth for n=4."""
    meter = StreamMeter(n)
    for index, completion in chunks:
        meter.running(index, 10 + index // n, completion)
        assert meter.completion_tokens == sum(meter.choice(one)[1] for one in range(6))
    last = dict(chunks)
    prompts = {index // n for index in last}
    usage, source = meter.reading()
    assert usage == Usage(sum(10 + prompt for prompt in prompts), 0, sum(last.values()))
    assert source is (UsageSource.RUNNING if chunks else UsageSource.UNRESOLVED)
    assert (meter.prompt_tokens, meter.completion_tokens) == (usage.prompt_tokens, usage.completion_tokens)
    for index in range(6):
        assert meter.choice(index) == (10 + index // n if index // n in prompts else 0, last.get(index, 0))


def test_the_engines_last_word_stands_over_the_running_count() -> None:
    """The final total knows the cached tokens; a running count that comes late must not undo it."""
    meter = StreamMeter(2)
    meter.running(0, 13, 5)
    meter.final({"prompt_tokens": 13, "completion_tokens": 9, "prompt_tokens_details": {"cached_tokens": 8}})
    meter.running(1, 13, 2)
    assert meter.is_final
    assert meter.reading() == (Usage(13, 8, 9), UsageSource.FINAL)


@pytest.mark.parametrize(
    "wire",
    [
        {"prompt_tokens": "3"},
        {"prompt_tokens": 3, "completion_tokens": 1.5},
        {"prompt_tokens": -3},
        {"prompt_tokens": 1, "prompt_tokens_details": {"cached_tokens": 2}},
        {"prompt_tokens": 1, "prompt_tokens_details": []},
    ],
)
def test_a_last_word_that_makes_no_sense_is_none(wire: dict[str, object]) -> None:
    """What cannot be must not become a row; the running count is the better one."""
    meter = StreamMeter(1)
    meter.running(0, 3, 4)
    with pytest.raises(UsageMissing):
        meter.final(wire)
    assert meter.reading() == (Usage(3, 0, 4), UsageSource.RUNNING)
