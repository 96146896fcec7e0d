"""The simulator's tokenizer, prose and generation: pure, deterministic, exact."""

import json

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.simulator import prose, vocabulary
from proxy.simulator.generation import Limits, Step, generate
from proxy.simulator.schema import filled

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=200)


@given(TEXT)
def test_any_text_survives_the_tokenizer(text: str) -> None:
    """A lossy tokenizer would make /tokenize, usage and echo disagree."""
    assert vocabulary.decode(vocabulary.encode(text)) == text


@given(TEXT)
def test_detokenizing_piece_by_piece_is_detokenizing_at_once(text: str) -> None:
    """Characters cut between tokens must neither be lost nor come twice."""
    detokenizer = vocabulary.Detokenizer()
    pieces = [detokenizer.add(token) for token in vocabulary.encode(text)]
    assert "".join(pieces) + detokenizer.rest() == text


def test_a_known_word_is_one_token_and_an_unknown_one_few() -> None:
    """Counts that are far from a real tokenizer's would make a demo's usage look wrong."""
    assert len(vocabulary.encode("the river")) == 2
    assert len(vocabulary.encode("metergate")) <= 5


def test_prose_is_a_function_of_prompt_seed_and_choice() -> None:
    """A call through a proxy is compared byte for byte with a direct one."""
    prompt = vocabulary.encode("hi")
    texts = {
        vocabulary.decode(prose.prose(prose.seed_of(prompt, seed, choice)))
        for seed in (None, 1)
        for choice in (0, 1)
    }
    assert len(texts) == 4
    again = vocabulary.decode(prose.prose(prose.seed_of(prompt, None, 0)))
    assert again in texts


@given(st.integers(0, 2**64 - 1), st.integers(1, 60))
def test_max_tokens_is_exact(state: int, max_tokens: int) -> None:
    """One token more or less than max_tokens is one token billed wrong."""
    steps = list(generate(prose.prose(state, endless=True), Limits(max_tokens, ignore_eos=True)))
    assert len(steps) == max_tokens
    assert [step.finish_reason for step in steps] == [None] * (max_tokens - 1) + ["length"]


@given(st.integers(0, 2**64 - 1))
def test_the_end_token_counts_and_has_no_text(state: int) -> None:
    """vLLM counts the end token; a simulator that did not would hide a miscount."""
    tokens = list(prose.prose(state))
    steps = list(generate(iter(tokens), Limits(10_000)))
    assert len(steps) == len(tokens)
    assert steps[-1] == Step(vocabulary.EOS, "", "stop")
    assert "".join(step.text for step in steps) == vocabulary.decode(tokens[:-1])


@given(st.integers(0, 2**64 - 1), st.integers(0, 60), st.integers(1, 12))
def test_a_stop_string_cuts_the_text_before_it(state: int, start: int, length: int) -> None:
    """A stop string that spans tokens must not leak its first characters into the stream."""
    whole = vocabulary.decode(list(prose.prose(state))[:-1])
    stop = whole[start : start + length]
    steps = list(generate(prose.prose(state), Limits(10_000, stop=(stop,))))
    assert "".join(step.text for step in steps) == whole[: whole.index(stop)]
    assert (steps[-1].finish_reason, steps[-1].stop_reason) == ("stop", stop)
    kept = list(generate(prose.prose(state), Limits(10_000, stop=(stop,), include_stop=True)))
    assert "".join(step.text for step in kept) == whole[: whole.index(stop)] + stop


def test_a_stop_token_ends_without_its_text() -> None:
    """stop_token_ids name the token as the stop reason."""
    ids = vocabulary.encode("the river, the harbor")
    comma = vocabulary.word(",")
    steps = list(generate(iter(ids), Limits(100, stop_token_ids=frozenset((comma,)))))
    assert steps[-1] == Step(comma, "", "stop", comma)


def test_min_tokens_puts_off_the_end() -> None:
    """min_tokens forbids the end token, not the other tokens."""
    tokens = prose.prose(1, min_tokens=200)
    assert len(list(generate(tokens, Limits(10_000, min_tokens=200)))) > 200


SCHEMAS = [
    {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    {
        "type": "object",
        "properties": {
            "kind": {"enum": ["a", "b"]},
            "n": {"type": "integer", "minimum": 3, "maximum": 5},
            "ratio": {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
            "tags": {"type": "array", "items": {"type": "string", "maxLength": 4}, "minItems": 1},
            "maybe": {"anyOf": [{"type": "boolean"}, {"type": "null"}]},
            "fixed": {"const": 7},
        },
        "required": ["kind", "n", "ratio", "tags"],
        "additionalProperties": False,
    },
    {
        "$defs": {
            "Node": {
                "type": "object",
                "properties": {
                    "name": {"type": "string"},
                    "next": {"anyOf": [{"$ref": "#/$defs/Node"}, {"type": "null"}]},
                },
                "required": ["name"],
            }
        },
        "$ref": "#/$defs/Node",
    },
]


@pytest.mark.parametrize("schema", SCHEMAS)
@given(state=st.integers(0, 2**64 - 1))
def test_structured_output_fits_its_schema(schema: dict[str, object], state: int) -> None:
    """LangChain's structured output is parsed strictly: what does not fit breaks the demo."""
    value = filled(schema, ["Paris"], state)
    jsonschema.validate(value, schema)
    json.dumps(value)
