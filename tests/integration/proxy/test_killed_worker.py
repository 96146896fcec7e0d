"""kill -9 of a worker with calls in flight: each is in the book once, with what its client saw or more."""

from pathlib import Path
from typing import Any

from prometheus_client.mmap_dict import MmapedDict

from tests.engines import Engine
from tests.integration.proxy.conftest import NewGate
from tests.integration.proxy.gate import Gate, chat_body, stream_body
from tests.integration.proxy.wire import Wire, events

RUNNING = {"include_usage": True, "continuous_usage_stats": True}


def begin(gate: Gate, chunks: int, **fields: Any) -> tuple[Wire, bytes]:
    """A stream of which so many chunks have come, and these."""
    wire = gate.wire()
    wire.send(gate.request(stream_body(stream_options=RUNNING, **fields)))
    assert wire.answer_head() == 200
    return wire, b"".join(wire.chunk() or b"" for _ in range(chunks))


def seen_by_client(wire: Wire, begun: bytes) -> tuple[int, int]:
    """(prompt tokens, completion tokens) as the stream told its client until its end, over all choices."""
    counts: dict[int, tuple[int, int]] = {}
    for event in events(begun + wire.rest()):
        usage = event["usage"]
        counts[event["choices"][0]["index"]] = usage["prompt_tokens"], usage["completion_tokens"]
    assert wire.unfinished
    return max(prompt for prompt, _ in counts.values()), sum(completion for _, completion in counts.values())


def unstreamed(gate: Gate, engine: Engine) -> Wire:
    """A call that the engine works on, and will for long."""
    before = len(engine.calls())
    wire = gate.wire()
    wire.send(gate.request(chat_body(max_tokens=2000, ignore_eos=True)))
    engine.wait_for(lambda: len(engine.calls()) > before or None, "the call to reach the engine")
    return wire


def test_calls_in_flight_are_booked_with_their_last_count(new_gate: NewGate, calm_engine: Engine) -> None:
    """Guards against tokens that a client got and nobody is billed for, and against billing them twice."""
    gate = new_gate(calm_engine.url)
    settled = gate.chat(max_tokens=3)
    streams = [begin(gate, chunks, n=n) for chunks, n in ((2, 1), (20, 1), (40, 2))]
    whole = unstreamed(gate, calm_engine)
    known = {call["request_id"] for call in calm_engine.calls()}
    gate.kill_worker()
    for wire, begun in streams:
        prompt, completion = seen_by_client(wire, begun)
        row, account = gate.row(wire.request_id), calm_engine.call(wire.request_id)
        assert (row["ending"], row["usage_source"], row["http_status"]) == ("killed", "recovered", 200)
        assert row["prompt_tokens"] == prompt
        assert completion <= row["completion_tokens"] <= account["generated_tokens"]
        assert row["started_us"] < row["first_byte_us"] <= row["ended_us"]
        assert row["tenant_id"] == gate.tenant_id and row["backend"] == calm_engine.url
        assert row["choices_per_prompt"] == (2 if wire is streams[2][0] else 1)
        wire.close()
    whole.close()
    lost = [row for row in gate.sql("SELECT * FROM usage") if row["usage_source"] == "unresolved"]
    assert [(row["ending"], row["completion_tokens"], row["http_status"]) for row in lost] == [
        ("killed", 0, 0)
    ]
    assert lost[0]["request_id"] in known and lost[0]["streamed"] == 0
    assert "recovered 4 calls" in gate.words.read_text()
    # The successor serves, and neither it nor the next one recovers anything twice.
    assert gate.chat(max_tokens=3)["usage"]["completion_tokens"] == settled["usage"]["completion_tokens"]
    gate.kill_worker()
    gate.chat(max_tokens=1)
    assert gate.totals(7)["calls"] == 7
    assert gate.words.read_text().count("recovered") == 1


def test_worker_after_worker_dies_and_every_stream_is_booked_once(
    new_gate: NewGate, calm_engine: Engine
) -> None:
    """Guards against a slot that its next owner reads as its own, and a kill amid a settlement."""
    gate = new_gate(calm_engine.url)
    seen: dict[str, tuple[int, int]] = {}
    for turn in range(3):
        streams = [
            begin(gate, 1 + number % 3, max_tokens=2000 if number % 2 else 4 + number) for number in range(8)
        ]
        gate.kill_worker()
        for wire, begun in streams:
            told = [event for event in events(begun + wire.rest()) if event != "[DONE]"]
            last = told[-1]["usage"]
            seen[wire.request_id] = last["prompt_tokens"], last["completion_tokens"]
            wire.close()
        assert len(seen) == 8 * (turn + 1)
    gate.totals(len(seen))
    rows = {row["request_id"]: row for row in gate.sql("SELECT * FROM usage")}
    assert rows.keys() == seen.keys()
    for request_id, (prompt, completion) in seen.items():
        row, made = rows[request_id], calm_engine.call(request_id)["generated_tokens"]
        assert row["prompt_tokens"] == prompt and completion <= row["completion_tokens"] <= made, row
        assert row["usage_source"] in ("recovered", "final")


def test_a_clean_stop_leaves_no_recorder(new_gate: NewGate, calm_engine: Engine) -> None:
    """Guards against a successor that recovers what was settled in peace, and 32 MiB for ever."""
    gate = new_gate(calm_engine.url)
    recorder = gate.data / "journal" / "worker-0" / "flight"
    gate.chat(max_tokens=1)
    assert recorder.exists()
    assert gate.worker.stop() == 0
    assert not recorder.exists()


def test_a_worker_that_nobody_starts_again_is_settled_by_the_poster(
    new_gate: NewGate, calm_engine: Engine, tmp_path: Path
) -> None:
    """Guards against `--workers 4` killed and `--workers 2` started: two workers' calls were in no book,
    and in no metric.
    """
    counters = tmp_path / "metrics"
    counters.mkdir()
    gate = new_gate(calm_engine.url, metrics=counters)
    wire, begun = begin(gate, 5)
    gate.worker.kill()
    prompt, completion = seen_by_client(wire, begun)
    row = gate.row(wire.request_id)
    assert (row["ending"], row["usage_source"], row["prompt_tokens"]) == ("killed", "recovered", prompt)
    assert completion <= row["completion_tokens"] <= calm_engine.call(wire.request_id)["generated_tokens"]
    wire.close()
    folder = gate.data / "journal" / "worker-0"
    assert not (folder / "flight").exists() and not (folder / "holder").exists()
    assert gate.poster.stop() == 0
    counted = counters / f"counter_{gate.poster.pid}.db"
    values = {
        key: value for key, value, *_ in MmapedDict.read_all_values_from_file(str(counted)) if "killed" in key
    }
    assert list(values.values()) == [1.0]
    gate.kill_worker()  # the worker is started after all
    gate.chat(max_tokens=1)
