"""Streams through real processes: each event as it comes, and the count whatever the end."""

import random
from itertools import pairwise
from typing import Any

import pytest

from proxy.simulator import SimulatorConfig
from tests.engines import Engine, engine_thread
from tests.integration.proxy.conftest import NewGate
from tests.integration.proxy.gate import Gate, chat_body, stream_body
from tests.integration.proxy.wire import Wire, events

USAGE = {"include_usage": True}


def direct(engine: Engine, body: Any, path: str = "/v1/chat/completions") -> list[Any]:
    """What the engine itself answers."""
    return events(engine.client.post(path, json=body).content)


def through(gate: Gate, body: Any, path: str = "/v1/chat/completions") -> tuple[str, list[Any]]:
    """(request id, events) of a whole stream through the gate."""
    response = gate.client.post(path, json=body)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/event-stream")
    told = events(response.content)
    gate.answers.append("".join(text_of(chunk) for chunk in told))
    return response.headers["x-request-id"], told


def text_of(chunk: Any) -> str:
    """What a chunk says, if it says anything."""
    choices = chunk["choices"] if isinstance(chunk, dict) else []
    return "".join(choice.get("text") or choice.get("delta", {}).get("content") or "" for choice in choices)


def same(chunks: list[Any]) -> list[Any]:
    """Chunks without what differs from call to call."""
    return [
        {name: value for name, value in chunk.items() if name not in ("id", "created")}
        if isinstance(chunk, dict)
        else chunk
        for chunk in chunks
    ]


def begin(gate: Gate, **fields: Any) -> Wire:
    """A stream whose head has come."""
    wire = gate.wire()
    wire.send(gate.request(stream_body(**fields)))
    assert wire.answer_head() == 200, wire.answer()
    return wire


TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/v1/chat/completions", {}),
        ("/v1/chat/completions", {"n": 3, "temperature": 1}),
        ("/v1/chat/completions", {"logprobs": True, "top_logprobs": 2}),
        ("/v1/chat/completions", {"tools": [TOOL], "tool_choice": "required"}),
        (
            "/v1/completions",
            {"prompt": ["one", "two more words"], "messages": None, "n": 2, "temperature": 1},
        ),
    ],
    ids=["plain", "n", "logprobs", "tools", "prompts"],
)
def test_a_stream_says_what_the_engine_says(
    gate: Gate, calm_engine: Engine, path: str, fields: dict[str, Any]
) -> None:
    """The same chunks as asked directly, for who asks for no usage; the row is the engine's own count."""
    body = chat_body(max_tokens=40, stream=True, **fields)
    body = {name: value for name, value in body.items() if value is not None}
    calm_engine.set_faults({"tokens_per_second": 0})
    gate.client.post(path, json=body)  # the first one of a worker learns the fingerprint
    request_id, told = through(gate, body, path)
    wanted, had = same(direct(calm_engine, body, path)), same(told)
    key = lambda chunk: chunk["choices"][0]["index"] if isinstance(chunk, dict) else 99  # noqa: E731
    # Choices are made side by side: their order among each other is the engine's moment.
    assert sorted(had, key=key) == sorted(wanted, key=key)
    row, account = gate.row(request_id), calm_engine.call(request_id)
    assert row["usage_source"] == "final" and row["ending"] == "finished" and row["streamed"] == 1
    assert row["completion_tokens"] == account["generated_tokens"] > 0
    assert row["prompt_tokens"] == account["prompt_tokens"]
    assert row["cached_prompt_tokens"] == account["cached_prompt_tokens"]


def test_final_usage_comes_in_openais_form(gate: Gate, calm_engine: Engine) -> None:
    """`usage: null` on each chunk, a last chunk with the total and no choices."""
    request_id, told = through(gate, stream_body(max_tokens=5, stream_options=USAGE))
    *chunks, last, done = told
    assert done == "[DONE]"
    assert all(chunk["usage"] is None and chunk["choices"] for chunk in chunks)
    assert last["choices"] == [] and last["usage"]["completion_tokens"] == 5
    assert gate.row(request_id)["prompt_tokens"] == last["usage"]["prompt_tokens"]


@pytest.mark.parametrize("chunks", [1, 2, 7])
def test_each_event_comes_before_the_engine_makes_the_next(
    gate: Gate, calm_engine: Engine, chunks: int
) -> None:
    """A proxy that holds an event until the next is a token behind for ever."""
    calm_engine.set_faults({"stall_after_chunks": chunks, "stall_ms": 600_000})
    with begin(gate) as wire:
        told: list[Any] = []
        while len(told) < chunks:
            told += events(wire.chunk() or b"")
        assert all(chunk["choices"] for chunk in told) and len(told) == chunks
        [account] = calm_engine.calls(wire.request_id)
        assert account["chunks_sent"] == chunks and account["ended"] == "running"
    row = gate.row(wire.request_id)
    # The first chunk tells the role; a token that the stalled engine holds back was told to nobody.
    assert row["usage_source"] == "running" and row["completion_tokens"] == chunks - 1


@pytest.mark.parametrize(
    "fault",
    [
        {"split_at_byte": 1},
        {"split_at_byte": 400},
        {"split_seed": 7},
        {"coalesce_events": 5},
        {"coalesce_events": 3, "split_seed": 3},
    ],
    ids=str,
)
def test_events_cut_and_joined_on_the_wire_are_the_same(
    gate: Gate, calm_engine: Engine, fault: dict[str, Any]
) -> None:
    """What TCP does to events is not the client's matter, nor the meter's."""
    body = stream_body(max_tokens=25, stream_options=USAGE)
    calm_engine.set_faults({"tokens_per_second": 0})
    _, plain = through(gate, body)
    calm_engine.set_faults({**fault, "tokens_per_second": 0})
    request_id, told = through(gate, body)
    assert same(told) == same(plain)
    assert gate.row(request_id)["completion_tokens"] == 25


@pytest.mark.parametrize("seed", range(8))
def test_a_client_that_leaves_at_any_byte_pays_what_was_made(
    gate: Gate, calm_engine: Engine, seed: int
) -> None:
    """A plain close upstream loses up to a hundred tokens; no close lets the engine run on, unpaid."""
    chance = random.Random(seed)
    # A fast engine is always some chunks ahead of what has been read of it when the client leaves.
    calm_engine.set_faults({"tokens_per_second": chance.choice([100, 3000, 3000])})
    with begin(gate, n=chance.choice([1, 1, 2]), temperature=1, max_tokens=8000) as wire:
        wire.exactly(chance.randint(1, 100_000))
        if chance.random() < 0.5:
            wire.reset()
    account = calm_engine.call(wire.request_id)
    assert account["ended"] == "aborted"
    row = gate.row(wire.request_id)
    assert row["ending"] == "client_left" and row["usage_source"] == "running"
    assert row["completion_tokens"] == account["generated_tokens"] > 0
    assert row["prompt_tokens"] == account["prompt_tokens"]


def test_a_client_that_leaves_before_the_first_token_pays_nothing(gate: Gate, calm_engine: Engine) -> None:
    """vLLM counts nothing of a call that leaves before its first token; nor is its slot kept."""
    calm_engine.set_faults({"first_token_delay_ms": 600_000, "count": 1})
    before = len(calm_engine.calls())
    wire = gate.wire()
    wire.send(gate.request(stream_body()))
    calm_engine.wait_for(lambda: len(calm_engine.calls()) > before or None, "the call to arrive")
    wire.close()
    request_id = calm_engine.calls()[-1]["request_id"]
    assert calm_engine.call(request_id)["ended"] == "aborted"
    # Settled or not is the same money; what is settled says zero. A later call shows that the worker goes on.
    later = gate.client.post("/v1/chat/completions", json=chat_body(max_tokens=1))
    gate.row(later.headers["x-request-id"])
    rows = gate.sql(f"SELECT * FROM usage WHERE request_id = '{request_id}'")
    assert [row["completion_tokens"] + row["prompt_tokens"] for row in rows] in ([], [0])


def test_silent_tokens_of_a_tool_call_are_counted_at_a_disconnect(gate: Gate, calm_engine: Engine) -> None:
    """A tool parser's silence: the client saw one chunk, the engine made many tokens."""
    calm_engine.set_faults({"tokens_per_second": 50})
    with begin(gate, tools=[TOOL], tool_choice="required") as wire:
        assert len(events(wire.chunk() or b"")) == 1

        def silent() -> bool | None:
            return calm_engine.calls(wire.request_id)[0]["generated_tokens"] >= 4 or None

        calm_engine.wait_for(silent, "silent tokens")
    account = calm_engine.call(wire.request_id)
    assert gate.row(wire.request_id)["completion_tokens"] == account["generated_tokens"] >= 4


@pytest.mark.parametrize(
    ("fault", "ending"),
    [
        ({"die_after_chunks": 4}, "engine_died"),
        ({"die_after_chunks": 4, "reset": True}, "engine_died"),
        ({"error_after_chunks": 4}, "engine_died"),
        ({"error_after_chunks": 4, "coalesce_events": 9}, "engine_died"),
        ({"omit_done": True}, "finished"),
        ({"omit_done": True, "omit_usage": True, "omit_running_usage": True}, "engine_died"),
    ],
    ids=str,
)
def test_a_stream_that_breaks_says_so_and_is_settled(
    gate: Gate, calm_engine: Engine, fault: dict[str, Any], ending: str
) -> None:
    """No [DONE], no clean end: nobody may take half an answer for a whole one."""
    calm_engine.set_faults(fault)
    with begin(gate, max_tokens=12, stream_options=USAGE) as wire:
        told = events(wire.rest())
    assert wire.unfinished
    assert "[DONE]" not in told
    error = told[-1]["error"]
    assert error.keys() == {"message", "type", "param", "code"} and not isinstance(error["code"], int)
    assert error["type"] == "server_error"
    account = calm_engine.call(wire.request_id)
    row = gate.row(wire.request_id)
    assert row["ending"] == ending
    if "omit_usage" in fault:
        assert row["usage_source"] == "unresolved"
        return
    assert row["usage_source"] == ("final" if ending == "finished" else "running")
    assert row["completion_tokens"] == sum(1 for chunk in told[1:-1] if chunk["choices"])
    # An engine that dies has made tokens that nobody was told of; one that is whole has not.
    assert row["completion_tokens"] <= account["generated_tokens"]


def test_an_engine_without_any_usage_is_listed_for_the_operator(gate: Gate, calm_engine: Engine) -> None:
    """Nothing known is `unresolved`, not a number made up."""
    calm_engine.set_faults({"omit_usage": True, "omit_running_usage": True})
    request_id, told = through(gate, stream_body(max_tokens=6))
    assert told[-1] == "[DONE]"
    row = gate.row(request_id)
    assert row["usage_source"] == "unresolved" and row["completion_tokens"] == 0


@pytest.mark.parametrize("content_type", ["application/json", "text/html"])
def test_a_stream_of_another_type_is_the_engines_fault(
    gate: Gate, calm_engine: Engine, content_type: str
) -> None:
    """A gateway's HTML page relayed as events would hang every client."""
    calm_engine.set_faults({"content_type": content_type, "tokens_per_second": 0})
    response = gate.client.post("/v1/chat/completions", json=stream_body(max_tokens=3))
    assert response.status_code == 500
    assert response.json()["error"]["type"] == "server_error"


def test_keep_alive_comments_pass(new_gate: NewGate) -> None:
    """A comment is no chunk: it neither ends the stream nor counts."""
    with engine_thread(SimulatorConfig(tokens_per_second=0, sse_keep_alive_interval_ms=20)) as engine:
        engine.set_faults({"stall_after_chunks": 2, "stall_ms": 200})
        gate = new_gate(engine.url)
        response = gate.client.post("/v1/chat/completions", json=stream_body(max_tokens=5))
        assert b": keep-alive\n\n" in response.content and response.content.endswith(b"data: [DONE]\n\n")
        assert gate.row(response.headers["x-request-id"])["completion_tokens"] == 5


def test_ids_are_ours_and_in_time_order(gate: Gate, calm_engine: Engine) -> None:
    """A client's x-request-id must not become the engine's id, nor the ledger's key."""
    calm_engine.set_faults({"tokens_per_second": 0})
    headers = {"x-request-id": "mine"}
    ids = [
        gate.client.post("/v1/chat/completions", json=stream_body(max_tokens=1), headers=headers).headers[
            "x-request-id"
        ]
        for _ in range(3)
    ]
    assert all(a < b for a, b in pairwise(ids)) and calm_engine.calls("mine") == []
    assert [calm_engine.call(request_id)["request_id"] for request_id in ids] == ids
