"""A worker that stops, a journal that cannot be written, and many calls at once: nothing is lost."""

import asyncio
import random
import resource
import signal
import socket

import pytest

from tests.engines import Engine
from tests.integration.proxy.conftest import NewGate
from tests.integration.proxy.gate import PATIENCE_S, Gate, chat_body, stream_body, wait_for
from tests.integration.proxy.wire import Wire, events

CHAT = "/v1/chat/completions"


def begin(gate: Gate, **fields: object) -> Wire:
    """A stream of which something has come."""
    wire = gate.wire()
    wire.send(gate.request(stream_body(**fields)))
    assert wire.answer_head() == 200
    assert wire.chunk()
    return wire


def refuses(gate: Gate) -> bool | None:
    """Whether the worker takes no connection any more."""
    try:
        socket.create_connection(("127.0.0.1", gate.port), timeout=1).close()
    except ConnectionRefusedError:
        return True
    return None


def stop(gate: Gate) -> None:
    """The first signal, heard."""
    gate.worker.popen.send_signal(signal.SIGTERM)
    wait_for(lambda: refuses(gate), "the listener to close")


def test_a_stopping_worker_lets_its_streams_finish(new_gate: NewGate, calm_engine: Engine) -> None:
    """A deployment must not break the answers that are under way; new ones go elsewhere at once."""
    gate = new_gate(calm_engine.url)
    idle = gate.wire()
    with begin(gate, max_tokens=150) as wire:
        stop(gate)
        assert idle.ended()
        assert events(wire.rest())[-1] == "[DONE]" and not wire.unfinished
    idle.close()
    assert gate.worker.popen.wait(PATIENCE_S) == 0
    row = gate.row(wire.request_id)
    assert row["usage_source"] == "final" and row["completion_tokens"] == 150


@pytest.mark.parametrize("hurried", [False, True])
def test_a_stream_that_outlasts_the_drain_is_cut_and_settled(
    new_gate: NewGate, calm_engine: Engine, hurried: bool
) -> None:
    """At the end of the drain, or at a second signal: an error event, the engine told, the count in the
    book.
    """
    gate = new_gate(calm_engine.url, drain_seconds="600" if hurried else "0.2")
    calm_engine.set_faults({"path": CHAT, "tokens_per_second": 20})
    with begin(gate) as wire, gate.wire() as unstreamed:
        before = len(calm_engine.calls())
        unstreamed.send(gate.request(chat_body(max_tokens=2000, ignore_eos=True)))
        calm_engine.wait_for(lambda: len(calm_engine.calls()) > before or None, "the unstreamed call")
        stop(gate)
        if hurried:
            gate.worker.popen.send_signal(signal.SIGTERM)
        told = events(wire.rest())
        assert wire.unfinished and told[-1]["error"]["code"] == "stopping" and "[DONE]" not in told
        status, answer = unstreamed.answer()
        assert status == 503 and answer["error"]["code"] == "stopping"
    assert gate.worker.popen.wait(PATIENCE_S) == 0
    row, account = gate.row(wire.request_id), calm_engine.call(wire.request_id)
    assert row["ending"] == "stopped" and row["usage_source"] == "running"
    assert row["completion_tokens"] == account["generated_tokens"] and account["ended"] == "aborted"
    row = gate.row(unstreamed.request_id)
    assert row["ending"] == "stopped" and row["usage_source"] == "unresolved" and row["http_status"] == 503


def test_what_a_killed_worker_settled_is_posted(new_gate_on_both: NewGate, calm_engine: Engine) -> None:
    """kill -9 right after an answer: its record is in the kernel's hands already."""
    gate = new_gate_on_both(calm_engine.url)
    gate.poster.popen.send_signal(signal.SIGSTOP)
    ids = [
        gate.client.post(CHAT, json=chat_body(max_tokens=2, stream=stream)).headers["x-request-id"]
        for stream in (False, True, False)
    ]
    gate.worker.kill()
    gate.poster.popen.send_signal(signal.SIGCONT)
    assert [gate.row(one)["completion_tokens"] for one in ids] == [2, 2, 2]
    gate.workers.clear()


def test_a_journal_that_cannot_be_written_refuses_calls_and_loses_none(
    new_gate: NewGate, calm_engine: Engine
) -> None:
    """A full disk: what was under way ends well and waits in memory, new calls get 503, and later all is
    there.
    """
    gate = new_gate(calm_engine.url)
    for _ in range(20):
        gate.chat(max_tokens=1)
    [journal] = (gate.data / "journal" / "worker-0").glob("*.journal")
    worker = gate.worker.popen.pid
    with begin(gate, max_tokens=60) as wire:
        _, hard = resource.prlimit(worker, resource.RLIMIT_FSIZE)
        resource.prlimit(worker, resource.RLIMIT_FSIZE, (journal.stat().st_size + 10, hard))
        assert events(wire.rest())[-1] == "[DONE]"
    refused = gate.client.post(CHAT, json=chat_body())
    assert refused.status_code == 503
    assert refused.json()["error"]["code"] == "ledger_unavailable" and "retry-after-ms" in refused.headers
    resource.prlimit(worker, resource.RLIMIT_FSIZE, (hard, hard))
    assert gate.row(wire.request_id)["completion_tokens"] == 60
    wait_for(
        lambda: gate.client.post(CHAT, json=chat_body(max_tokens=1)).status_code == 200 or None, "calls again"
    )


def test_a_worker_with_another_secret_does_not_start(
    new_gate_on_both: NewGate, calm_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that is started again after secret.key was replaced would answer every key with 401."""
    gate = new_gate_on_both(calm_engine.url)
    monkeypatch.setitem(gate._env, "METERGATE_SECRET_KEY", "quite another secret")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        fd = listener.fileno()
        worker = gate._start("proxy.worker", "--fd", str(fd), "--worker", "7", fd=fd)
        assert worker.popen.wait(PATIENCE_S) == 1
    [line] = gate.words.read_text().splitlines()
    assert line.startswith("metergate: the secret key is not the one")


async def one_call(gate: Gate, number: int) -> None:
    """A stream read to its end, left half-way, or an unstreamed call."""
    chance = random.Random(number)
    leaves, streams = number % 5 == 0, number % 4 != 3
    max_tokens = 2000 if leaves and streams else chance.randint(1, 40)
    fields = {"max_tokens": max_tokens, "n": chance.choice([1, 1, 2]), "temperature": 1}
    body = stream_body(**fields) if streams else chat_body(text=f"number {number}", **fields)
    reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
    writer.write(gate.request(body, head="connection: close\r\n"))
    if leaves and streams:
        await reader.readexactly(chance.randint(500, 4000))
    else:
        answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 200")
    writer.close()
    await writer.wait_closed()


def test_two_hundred_calls_at_once_add_up(new_gate_on_both: NewGate, calm_engine: Engine) -> None:
    """Two workers, streams read and left and whole answers: every token the engine made is in the book,
    once.
    """
    gate = new_gate_on_both(calm_engine.url, workers=2)
    before = calm_engine.settled_totals()

    async def all_calls() -> None:
        await asyncio.gather(*(one_call(gate, number) for number in range(200)))

    asyncio.run(all_calls())
    after = calm_engine.settled_totals()
    booked = gate.totals(200)
    for name in ("calls", "prompt_tokens", "generated_tokens"):
        assert booked[name] == after[name] - before[name], name
    journals = {path.parent.name for path in (gate.data / "journal").glob("worker-*/*.journal")}
    assert journals == {"worker-0", "worker-1"}
