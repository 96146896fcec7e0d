"""OTLP exports in JSON, read for requests and their tokens, and compared with rows call by call."""

import itertools
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from admin.spans import Row, Spans, SpansUnreadable, compare, document
from ledger.ids import new_request_id
from ledger.reconciliation.arithmetic import NO_TOKENS, Tokens
from ledger.usage import UsageSource
from tests.records import NOON_US

IDS = [new_request_id(NOON_US + number) for number in range(8)]
SECOND_US = 1_000_000


def span(
    engine_id: str, tokens: Tokens, number: int = 0, *, at_us: int = NOON_US, text: bool = True
) -> dict[str, Any]:
    """As vLLM 0.32 ends it; 64 bits are text in OTLP's JSON, and numbers to some."""

    def whole(value: int) -> dict[str, Any]:
        return {"intValue": str(value) if text else value}

    return {
        "traceId": "5b8efff798038103d269b633813fc60c",
        "spanId": f"{number:016x}",
        "name": "llm_request",
        "kind": 2,
        "startTimeUnixNano": str(at_us * 1000),
        "endTimeUnixNano": str((at_us + SECOND_US) * 1000),
        "attributes": [
            {"key": "gen_ai.latency.e2e", "value": {"doubleValue": 0.5}},
            {"key": "gen_ai.request.id", "value": {"stringValue": engine_id}},
            {"key": "gen_ai.usage.prompt_tokens", "value": whole(tokens.prompt)},
            {"key": "gen_ai.usage.completion_tokens", "value": whole(tokens.generation)},
        ],
    }


def line(*spans: dict[str, Any]) -> bytes:
    """One export, with what is not a request beside them."""
    other = {"traceId": "00", "spanId": "01", "name": "GET /health", "attributes": []}
    scopes = [{"scope": {"name": "vllm"}, "spans": [*spans, other]}]
    return json.dumps({"resourceSpans": [{"resource": {"attributes": []}, "scopeSpans": scopes}]}).encode()


def read(*lines: bytes) -> Spans:
    spans = Spans()
    for each in lines:
        spans.add(each)
    return spans


def row(request_id: str, tokens: Tokens, *, at_s: float = 0, source: UsageSource = UsageSource.FINAL) -> Row:
    return Row(request_id, NOON_US + int(at_s * SECOND_US), source, tokens)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    requests=st.lists(
        st.tuples(
            st.sampled_from([*IDS, "somebody-elses"]),
            st.sampled_from(["chatcmpl-{}", "cmpl-{}-0", "1_chatcmpl-{}", "embd-{}-3-a1b2c3d4"]),
            st.integers(0, 1 << 40),
            st.integers(0, 1 << 40),
            st.booleans(),
        ),
        max_size=20,
    ),
    cuts=st.lists(st.integers(0, 20), max_size=4),
    again=st.sets(st.integers(0, 19)),
)
def test_however_it_is_exported_the_sums_are_the_same(
    requests: list[tuple[str, str, int, int, bool]], cuts: list[int], again: set[int]
) -> None:
    """Guards against requests lost between exports, and one that was exported twice counted twice."""
    spans = [
        span(form.format(name), Tokens(prompt, generated), number, text=text)
        for number, (name, form, prompt, generated, text) in enumerate(requests)
    ]
    edges = sorted({0, *(cut for cut in cuts if cut < len(spans)), len(spans)})
    lines = [line(*spans[begin:end]) for begin, end in itertools.pairwise(edges)]
    lines += [line(spans[number]) for number in again if number < len(spans)]
    found = read(*lines)
    expected: dict[str, Tokens] = {}
    foreign = NO_TOKENS
    for name, _, prompt, generated, _ in requests:
        if name in IDS:
            expected[name] = expected.get(name, NO_TOKENS) + Tokens(prompt, generated)
        else:
            foreign += Tokens(prompt, generated)
    assert (found.calls, found.foreign) == (expected, foreign)
    assert found.foreign_requests == sum(name not in IDS for name, *_ in requests)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(junk=st.binary(max_size=200))
def test_what_is_no_export_is_refused_and_nothing_else_happens(junk: bytes) -> None:
    """Guards against a traceback for a file that is something else."""
    with pytest.raises(SpansUnreadable):
        read(junk)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", "null", '{"resourceSpans": [1]}', '{"resourceSpans": ' + "[" * 5000, "\ud800"],
)
def test_other_json_is_refused(text: str) -> None:
    with pytest.raises(SpansUnreadable):
        read(text.encode(errors="surrogatepass"))


def test_a_number_that_is_none_is_refused() -> None:
    one = span(f"chatcmpl-{IDS[0]}", Tokens(1, 1))
    one["attributes"][2]["value"] = {"intValue": "many"}
    with pytest.raises(SpansUnreadable):
        read(line(one))


def test_each_call_is_compared_with_its_own_row() -> None:
    """Guards against calls that make up for each other in a sum."""
    told = [Tokens(10, number) for number in range(5)]
    spans = read(
        *(line(span(f"chatcmpl-{IDS[n]}", told[n], n, at_us=NOON_US + n * 10 * SECOND_US)) for n in range(5)),
        line(span("chatcmpl-other", Tokens(7, 7), 99)),
    )
    rows = [
        row(IDS[0], told[0]),
        row(IDS[1], Tokens(10, 0)),
        row(IDS[2], NO_TOKENS, source=UsageSource.UNRESOLVED),
        row(IDS[4], told[4]),
        row(IDS[5], Tokens(1, 1), at_s=20),
        row(IDS[6], Tokens(1, 1), at_s=20, source=UsageSource.RUNNING),  # broken off: no span is written
        row(IDS[7], Tokens(1, 1), at_s=1),  # perhaps in the file before
    ]
    found = compare(spans, rows)
    assert not found.is_well and found.agreeing == 2
    assert found.differing == [(IDS[1], told[1], Tokens(10, 0)), (IDS[2], told[2], NO_TOKENS)]
    assert found.missing_in_ledger == [(IDS[3], told[3])]
    assert found.missing_in_spans == [IDS[5]]
    assert (found.foreign_requests, found.foreign) == (1, Tokens(7, 7))
    shown = document(found, 1)
    assert (shown["differing"], len(shown["calls"]["differing"]), shown["foreign"]["requests"]) == (2, 1, 1)
    assert compare(read(line(span(IDS[0], told[0]))), [row(IDS[0], told[0])]).is_well
