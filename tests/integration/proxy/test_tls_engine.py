"""An engine behind TLS, with a certificate that the operator made himself."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.simulator import SimulatorConfig
from tests.engines import Engine, engine_thread
from tests.integration.proxy.conftest import NewGate
from tests.integration.proxy.gate import chat_body, stream_body, wait_for
from tests.integration.proxy.wire import events

CERTIFICATE = Path(__file__).parents[2] / "vectors" / "tls" / "engine.pem"
CHAT = "/v1/chat/completions"


@pytest.fixture
def tls_engine() -> Iterator[Engine]:
    config = SimulatorConfig(tokens_per_second=200, api_keys=("sk-engine",))
    with engine_thread(config, certificate=CERTIFICATE) as running:
        yield running


def test_an_engine_with_its_own_certificate_is_spoken_to(tls_engine: Engine, new_gate: NewGate) -> None:
    """Private engines have private certificates; without a setting for these https could not be used."""
    gate = new_gate(tls_engine.url, engine_ca_file=str(CERTIFICATE), engine_api_key="sk-engine")
    response = gate.client.post(CHAT, json=chat_body(max_tokens=3))
    assert response.status_code == 200, response.text
    assert gate.row(response.headers["x-request-id"])["completion_tokens"] == 3
    response = gate.client.post(CHAT, json=stream_body(max_tokens=20))
    assert events(response.content)[-1] == "[DONE]"
    assert gate.row(response.headers["x-request-id"])["completion_tokens"] == 20
    # TLS has no half-close: what was told until then counts, and the engine is told to stop.
    with gate.wire() as wire:
        wire.send(gate.request(stream_body()))
        assert wire.answer_head() == 200
        told = events(b"".join(wire.chunk() or b"" for _ in range(10)))
    account = tls_engine.call(wire.request_id)
    row = gate.row(wire.request_id)
    assert account["ended"] == "aborted" and row["usage_source"] == "running"
    assert len(told) - 1 <= row["completion_tokens"] <= account["generated_tokens"]


def test_an_engine_of_unknown_certificate_is_not_trusted(tls_engine: Engine, new_gate: NewGate) -> None:
    """A key and prompts sent to whoever answers on that address."""
    gate = new_gate(tls_engine.url, engine_api_key="sk-engine")
    wait_for(lambda: gate.client.get("/readyz").status_code == 503 or None, "no trust")
    assert gate.client.post(CHAT, json=chat_body()).status_code == 503
    assert tls_engine.calls() == []
