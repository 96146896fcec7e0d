"""A journal at its mark: new calls are told so and come back, those that run are booked."""

import httpx

from tests.engines import Engine
from tests.integration.proxy.conftest import NewGate
from tests.integration.proxy.gate import chat_body, stream_body, wait_for

MIB = 1 << 20


def test_a_full_journal_refuses_new_calls_and_keeps_those_that_run(
    new_gate: NewGate, calm_engine: Engine
) -> None:
    """Guards against a call that is answered and cannot be recorded, a refusal that SDKs do not try again,
    and a mark that stays passed once there is room.
    """
    gate = new_gate(calm_engine.url, journal_bytes_max=str(MIB))
    assert gate.poster.stop() == 0  # the ledger is away, and for long
    wire = gate.wire()
    wire.send(gate.request(stream_body(max_tokens=400)))
    assert wire.answer_head() == 200
    begun = wire.chunk()
    backlog = gate.data / "journal" / "worker-0" / "000000000009.journal"
    backlog.write_bytes(bytes(2 * MIB))

    def refusal() -> httpx.Response | None:
        answer = gate.client.post("/v1/chat/completions", json=chat_body(max_tokens=1))
        return None if answer.status_code == 200 else answer

    refused = wait_for(refusal, "a refusal")
    assert refused.status_code == 503
    assert (refused.headers["retry-after"], refused.headers["retry-after-ms"]) == ("1", "1000")
    error = refused.json()["error"]
    assert error["code"] == "ledger_unavailable" and "journal is full" in error["message"]
    ready = gate.client.get("/readyz")
    assert (ready.status_code, ready.json()["problems"]) == (503, ["the journal has no room"])
    assert begun and wire.rest().endswith(b"data: [DONE]\n\n")
    wire.close()
    backlog.unlink()
    wait_for(lambda: gate.client.get("/readyz").status_code == 200 or None, "room again")
    assert gate.chat(max_tokens=1)
    assert "no room in" in gate.words.read_text() and "room in" in gate.words.read_text()
    gate.poster = gate._start("ledger.poster")
    gate.poster.ready()
    row = gate.row(wire.request_id)
    assert (row["ending"], row["usage_source"], row["completion_tokens"]) == ("finished", "final", 400)
