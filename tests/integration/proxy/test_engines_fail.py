"""Engines that die, hang, restart or are not there, and clients that are slow."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import product
from pathlib import Path

import pytest

from proxy.simulator import SimulatorConfig
from tests.engines import Engine, engine_process, engine_thread
from tests.integration.proxy.conftest import NewGate
from tests.integration.proxy.gate import Gate, chat_body, stream_body, wait_for
from tests.integration.proxy.wire import Wire, events

CHAT = "/v1/chat/completions"


@pytest.fixture
def second_engine() -> Iterator[Engine]:
    with engine_thread(SimulatorConfig(tokens_per_second=200)) as running:
        yield running


def test_a_call_is_tried_on_another_replica_before_its_first_byte(
    new_gate: NewGate, calm_engine: Engine, second_engine: Engine
) -> None:
    """One replica that dies must not be seen by a client while another is well."""
    gate = new_gate(calm_engine.url, second_engine.url)
    for stream, reset in product((False, True), (False, True)):
        calm_engine.set_faults({"die_before_headers": True, "reset": reset})
        second_engine.set_faults()
        before = second_engine.totals()["calls"]
        response = gate.client.post(CHAT, json=chat_body(max_tokens=3, stream=stream))
        assert response.status_code == 200
        row = gate.row(response.headers["x-request-id"])
        assert row["backend"] == second_engine.url and row["completion_tokens"] == 3
        assert second_engine.totals()["calls"] == before + 1
        second_engine.set_faults({"die_before_headers": True, "reset": reset})
        response = gate.client.post(CHAT, json=chat_body(stream=stream))
        assert response.status_code == 503 and int(response.headers["retry-after"]) >= 1
        assert response.json()["error"]["code"] == "engine_unavailable"
        assert gate.sql(f"SELECT * FROM usage WHERE request_id = '{response.headers['x-request-id']}'") == []


def test_a_restarted_engine_is_not_seen(new_gate: NewGate) -> None:
    """Pooled connections are dead after a restart: the call on one of them gets a new one."""
    with engine_process("--tokens-per-second", "0") as engine:
        gate, port = new_gate(engine.url), engine.port
        with gate.new_client(gate.secret) as client:
            assert client.post(CHAT, json=chat_body(max_tokens=1)).status_code == 200
        engine.kill()
    with engine_process("--tokens-per-second", "0", port=port):
        for stream in (False, True):
            response = gate.client.post(CHAT, json=chat_body(max_tokens=2, stream=stream))
            assert response.status_code == 200, response.text
            assert gate.row(response.headers["x-request-id"])["completion_tokens"] == 2


def test_an_engine_that_is_killed_mid_stream_is_told_and_counted(new_gate: NewGate) -> None:
    """kill -9: no last chunk, no [DONE]; the count is what was told until then."""
    with engine_process("--tokens-per-second", "100") as engine:
        gate = new_gate(engine.url)
        with gate.wire() as wire:
            wire.send(gate.request(stream_body()))
            assert wire.answer_head() == 200
            told = events(b"".join(wire.chunk() or b"" for _ in range(5)))
            engine.kill()
            told += events(wire.rest())
        assert wire.unfinished and "error" in told[-1] and "[DONE]" not in told
        row = gate.row(wire.request_id)
        assert row["usage_source"] == "running" and row["ending"] == "engine_died"
        assert row["completion_tokens"] == len(told) - 2
        response = gate.client.post(CHAT, json=chat_body())
        assert response.status_code == 503
        wait_for(lambda: gate.client.get("/readyz").status_code == 503 or None, "not ready")
        assert "no engine" in gate.client.get("/readyz").text
        assert gate.client.get("/healthz").status_code == 200


@pytest.fixture
def impatient_gate(new_gate: NewGate, calm_engine: Engine) -> Gate:
    return new_gate(calm_engine.url, gap_timeout_seconds="1.0", first_byte_timeout_seconds="1.5")


def test_an_engine_that_hangs_ends_the_stream(impatient_gate: Gate, calm_engine: Engine) -> None:
    """vLLM on SIGTERM leaves its streams open without a byte: only a timeout ends them."""
    calm_engine.set_faults({"hang_after_chunks": 5})
    with impatient_gate.wire() as wire:
        wire.send(impatient_gate.request(stream_body()))
        assert wire.answer_head() == 200
        told = events(wire.rest())
    assert wire.unfinished and told[-1]["error"]["code"] == "engine_timeout"
    row = impatient_gate.row(wire.request_id)
    assert row["ending"] == "engine_hung" and row["usage_source"] == "running"
    assert row["completion_tokens"] == len(told) - 2
    # Silent from the start: 504, and nothing to pay; nor is another replica tried with the same tokens.
    calm_engine.set_faults({"first_token_delay_ms": 600_000})
    for stream in (True, False):
        response = impatient_gate.client.post(CHAT, json=chat_body(stream=stream))
        assert response.status_code == 504 and response.json()["error"]["code"] == "engine_timeout"
    row = impatient_gate.row(response.headers["x-request-id"])
    assert (
        row["usage_source"] == "unresolved" and row["ending"] == "engine_hung" and row["http_status"] == 504
    )


def test_a_slow_engine_within_its_time_is_waited_for(impatient_gate: Gate, calm_engine: Engine) -> None:
    """The gap is between two bytes, not over the whole stream."""
    calm_engine.set_faults({"tokens_per_second": 4})
    response = impatient_gate.client.post(CHAT, json=stream_body(max_tokens=8))
    assert events(response.content)[-1] == "[DONE]"


def memory_kib(process: int) -> int:
    """The resident memory of a process."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise AssertionError("no VmRSS")


@pytest.fixture
def wordy_engine() -> Iterator[Engine]:
    """A fast engine whose model's name makes every chunk 4 KB: a stream is more than the kernel's buffers
    hold.
    """
    with engine_thread(SimulatorConfig(models=("m" * 4000,), tokens_per_second=0)) as running:
        yield running


def test_a_slow_reader_pauses_the_engine(wordy_engine: Engine, new_gate: NewGate) -> None:
    """A client that does not read must not fill the worker's memory; nothing is lost when it reads on."""
    gate = new_gate(wordy_engine.url)
    model = "m" * 4000
    body = stream_body(model=model, max_tokens=6000, stream_options={"include_usage": True})
    gate.client.post(CHAT, json=stream_body(model=model, max_tokens=50))
    before = memory_kib(gate.worker.popen.pid)
    with ExitStack() as stack:
        wires = [stack.enter_context(Wire(gate.port, receive_buffer_bytes=4096)) for _ in range(2)]
        for wire in wires:
            wire.send(gate.request(body))
            assert wire.answer_head() == 200

        def sent() -> list[int]:
            accounts = [wordy_engine.calls(wire.request_id)[0] for wire in wires]
            assert all(account["ended"] == "running" for account in accounts), accounts
            return [account["chunks_sent"] for account in accounts]

        def halted() -> list[int] | None:
            counts = sent()
            time.sleep(0.5)
            return counts if counts == sent() and all(counts) else None

        halts = wait_for(halted, "the engine to be paused")
        held_kib = memory_kib(gate.worker.popen.pid) - before
        reader, leaver = wires
        whole = reader.rest()
        told = events(whole)
        assert held_kib < len(whole) / 1024 / 3, f"{held_kib} KiB held, {halts} chunks on their way"
        assert told[-1] == "[DONE]" and not reader.unfinished
        assert sum(1 for chunk in told[1:-1] if chunk["choices"]) == 6000
        assert gate.row(reader.request_id)["completion_tokens"] == 6000
    account = wordy_engine.call(leaver.request_id)
    row = gate.row(leaver.request_id)
    assert row["ending"] == "client_left" and row["completion_tokens"] == account["generated_tokens"]
