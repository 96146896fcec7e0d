"""`metergate reconcile` before a simulated engine: everything through us, then past us, and restarts."""

import json
import time
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from admin.cli.entry import tree
from admin.data_folder import keep_engines, prepare
from ledger.ids import new_request_id
from ledger.reconciliation.arithmetic import MARGIN_US, Tokens
from tests.engines import Engine, engine_process
from tests.integration.proxy.conftest import NewGate
from tests.integration.proxy.gate import Gate, chat_body, stream_body, wait_for
from tests.integration.proxy.wire import Wire
from tests.unit.admin.test_spans import line, span


def reconcile(gate: Gate, *arguments: str) -> tuple[int, list[dict[str, Any]], dict[str, Any]]:
    """The exit status, the comparisons of the model that generates, and the whole document."""
    words = ["reconcile", "--json", "--data-dir", str(gate.data), *arguments]
    words += ["--database-url", gate.database_url] if gate.database_url else []
    done = CliRunner().invoke(tree(), words)
    document = json.loads(done.stdout)
    shown = [each for each in document["comparisons"] if each["model"] == "simulated"]
    return done.exit_code, shown, document


def leave_engines(gate: Gate, engine: Engine) -> None:
    """As a start does."""
    prepare(gate.data)
    keep_engines(gate.data, [engine.url])


def leave(gate: Gate, chunks: int, **fields: Any) -> str:
    """A stream that its client leaves after some chunks; its request id."""
    wire = begin(gate, chunks, **fields)
    wire.close()
    return wire.request_id


def begin(gate: Gate, chunks: int, **fields: Any) -> Wire:
    wire = gate.wire()
    wire.send(gate.request(stream_body(**fields)))
    assert wire.answer_head() == 200
    for _ in range(chunks):
        wire.chunk()
    return wire


def ask_in_every_way(gate: Gate) -> None:
    """Calls whose prompts an engine counts otherwise than it bills them, among others."""
    gate.chat(max_tokens=5, n=3, temperature=1)
    lists = {"model": "simulated", "prompt": ["one", "two words"], "n": 2, "temperature": 1, "max_tokens": 3}
    embedding = {"model": "simulated-embedding", "input": ["a", "b c"]}
    for path, body in (
        ("/v1/completions", lists),
        ("/v1/completions", lists | {"stream": True}),
        ("/v1/embeddings", embedding),
        ("/v1/chat/completions", chat_body(stream=True, n=2, temperature=1, max_tokens=4)),
    ):
        answer = gate.client.post(path, json=body)
        assert answer.status_code == 200, answer.text


def past_us(engine: Engine) -> dict[str, int]:
    """What somebody takes straight from the engine."""
    body = {"model": "simulated", "prompt": "not through the door", "max_tokens": 9}
    usage: dict[str, int] = engine.client.post("/v1/completions", json=body).json()["usage"]
    return {"prompt_tokens": usage["prompt_tokens"], "generation_tokens": usage["completion_tokens"]}


NOTHING = {"prompt_tokens": 0, "generation_tokens": 0}
MODELS = ("--model", "simulated", "--model", "simulated-embedding", "--tokens-per-second", "200")


def test_what_goes_through_us_reconciles_and_what_does_not_is_found(new_gate_on_both: NewGate) -> None:
    """Guards the way of a token into both counts: n-fold prompts, lists, streams that are left, an engine
    that dies and comes back; and against foreign traffic that is explained away.
    """
    with engine_process(*MODELS) as engine:
        port = engine.port
        gate = new_gate_on_both(engine.url)
        status, (first,), _ = reconcile(gate, "--engine", engine.url)
        assert (status, first["verdict"], first["engine"]) == (0, "exact", NOTHING)
        ask_in_every_way(gate)
        leave_engines(gate, engine)
        status, (exact,), document = reconcile(gate)
        assert (status, document["reconciled"], exact["verdict"]) == (0, True, "exact")
        assert exact["ledger"]["calls"] == 4 and exact["capture_ratio"] == 1.0
        assert exact["ledger"]["prompt_tokens"] < exact["engine"]["prompt_tokens"]
        assert {each["verdict"] for each in document["comparisons"]} == {"exact"}
        gate.row(leave(gate, 6, n=2, temperature=1))
        status, (left,), _ = reconcile(gate)
        assert (status, left["verdict"], left["difference"]) == (0, "explained", NOTHING)
        assert left["causes"]["tokens_of_broken_streams"] == 4
        cut = begin(gate, 3)
        engine.kill()
        cut.rest()
        cut.close()
        died = gate.row(cut.request_id)
        assert died["ending"] == "engine_died"
        status, _, document = reconcile(gate, "--engine", engine.url, "--no-wait")
        assert status == 1 and [each["backend"] for each in document["silent_engines"]] == [engine.url]
    time.sleep(MARGIN_US / 1e6)  # a call that ends so near to a life's beginning may count in that one
    with engine_process(*MODELS, port=port) as engine:
        wait_for(lambda: gate.client.get("/readyz").status_code == 200 or None, "the engine to be seen again")
        ask_in_every_way(gate)
        status, (before, lost, after), _ = reconcile(gate)
        assert (status, before["verdict"], after["difference"]) == (0, "explained", NOTHING)
        assert (lost["reason"], lost["ledger"]["calls"]) == ("restarted", 1)
        assert lost["ledger"]["completion_tokens"] == died["completion_tokens"]
        taken = past_us(engine)
        status, (*_, found), document = reconcile(gate)
        assert (status, document["reconciled"], found["verdict"]) == (1, False, "engine_above")
        assert found["unexplained"] == found["difference"] == taken
        status, (*_, found), _ = reconcile(gate, "--no-wait", "--tolerance", str(max(taken.values())))
        assert (status, found["verdict"]) == (0, "explained")


def test_a_call_in_flight_is_waited_for_and_not_blamed(new_gate: NewGate) -> None:
    """Guards against an alarm for every long answer: the engine has its tokens, the ledger not yet."""
    with engine_process(*MODELS) as engine:
        gate = new_gate(engine.url)
        leave_engines(gate, engine)
        assert reconcile(gate)[0] == 0
        running = begin(gate, 2)
        _, (open_one,), _ = reconcile(gate)
        assert open_one["verdict"] == "exact", "compared where nothing was in flight"
        assert open_one["engine"] == NOTHING
        running.close()
        gate.row(running.request_id)
        status, (closed,), _ = reconcile(gate)
        assert (status, closed["difference"]) == (0, NOTHING) and closed["engine"]["generation_tokens"] > 2


def test_without_any_engine_it_says_what_to_give(new_gate: NewGate, shared_engine: Engine) -> None:
    """Guards against a check of nothing that passes."""
    gate = new_gate(shared_engine.url)
    done = CliRunner().invoke(tree(), ["reconcile", "--data-dir", str(gate.data)])
    assert "METERGATE_ENGINES" in str(done.exception)


def test_spans_are_compared_call_by_call(new_gate: NewGate, tmp_path: Path) -> None:
    """Guards the way from a collector's file to a verdict on each call, n-fold prompts and all."""
    with engine_process(*MODELS) as engine:
        gate = new_gate(engine.url)
        ask_in_every_way(gate)
        gate.totals(5)
        made = engine.calls()
    file = tmp_path / "spans.jsonl"

    def write(*more: tuple[str, Tokens]) -> None:
        calls = [
            (call["id"], Tokens(call["prompt_tokens"] * choices, call["generated_tokens"]))
            for call, choices in zip(made, (3, 2, 2, 1, 2), strict=True)
        ]
        exports = [
            line(span(name, told, at, at_us=made[0]["arrived_us"]))
            for at, (name, told) in enumerate([*calls, *more])
        ]
        file.write_bytes(b"\n".join(exports) + b"\n")

    def ask() -> tuple[int, dict[str, Any]]:
        words = ["reconcile", "--json", "--data-dir", str(gate.data), "--spans", str(file)]
        done = CliRunner().invoke(tree(), words)
        return done.exit_code, json.loads(done.stdout)

    write()
    status, found = ask()
    assert (status, found["reconciled"], found["agreeing"]) == (0, True, 5), found
    strange = f"chatcmpl-{new_request_id()}"
    write((strange, Tokens(3, 4)))
    status, found = ask()
    assert (status, found["missing_in_ledger"], found["differing"]) == (1, 1, 0)
    assert found["calls"]["missing_in_ledger"][0]["request_id"] == strange.removeprefix("chatcmpl-")
    file.write_text("no export\n")
    done = CliRunner().invoke(tree(), ["reconcile", "--data-dir", str(gate.data), "--spans", str(file)])
    assert "line 1" in str(done.exception)
