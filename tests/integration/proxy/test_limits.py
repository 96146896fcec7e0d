"""Limits through real workers: what holds, what the app is told, and how soon a change is felt."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import pairwise
from typing import Any

import httpx
import pytest

from ledger import limit_settings, prices
from ledger.limit_settings import LimitScope
from ledger.limits import Limit, LimitKind, LimitWindow
from ledger.money import Rates
from proxy.simulator import SimulatorConfig
from tests.engines import Engine, engine_thread
from tests.integration.proxy.gate import Gate, chat_body, now_us, stream_body, wait_for

NewGate = Callable[..., Gate]
DOLLARS = Rates(10_000_000, 10_000_000, 10_000_000)  # $10 per million tokens: a token is 1e7 picos
TOKEN_PICOS = 10_000_000


def set_limit(
    gate: Gate, kind: str, window: str | None, most: int, *, key: str | None = None, **more: Any
) -> Limit:
    """A limit of a key, or of the gate's project."""
    scope = LimitScope(api_key_id=key) if key else LimitScope(project_id=gate.project_id)
    return gate.change(
        lambda session: limit_settings.set_limit(
            session,
            scope,
            LimitKind(kind),
            LimitWindow(window) if window else None,
            most,
            now_us(),
            **more,
        )
    )


def set_price(gate: Gate) -> None:
    """A price, and the second in which every worker hears of it."""
    gate.change(lambda session: prices.set_price(session, "simulated", DOLLARS, now_us()))
    time.sleep(1.0)


@pytest.fixture
def clients_of() -> Iterator[ExitStack]:
    """Closes the clients that are entered into it."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def limited_key(gate: Gate) -> Iterator[tuple[str, httpx.Client]]:
    key_id, secret = gate.new_key()
    with gate.new_client(secret) as client:
        yield key_id, client


def test_a_rate_lets_its_burst_pass_and_tells_when_to_come_again(
    gate: Gate, limited_key: tuple[str, httpx.Client]
) -> None:
    """Guards against a limit by the minute that lets more through, or lies about the time to wait."""
    key_id, client = limited_key
    set_limit(gate, "requests", "minute", 60, key=key_id, burst=5)
    first = client.post("/v1/chat/completions", json=chat_body(max_tokens=1))
    assert first.status_code == 200
    assert first.headers["x-ratelimit-limit-requests"] == "60"
    left = [int(first.headers["x-ratelimit-remaining-requests"])]
    response = first
    while response.status_code == 200:
        response = client.post("/v1/chat/completions", json=chat_body(max_tokens=1))
        left.append(int(response.headers["x-ratelimit-remaining-requests"]))
    assert len(left) <= 7
    assert left[-1] == 0
    assert all(later <= earlier for earlier, later in pairwise(left))
    assert response.json()["error"]["code"] == "rate_limit_exceeded"
    assert "this API key" in response.json()["error"]["message"]
    waited_ms = int(response.headers["retry-after-ms"])
    assert 0 < waited_ms <= 1000
    time.sleep(waited_ms / 1000)
    assert client.post("/v1/chat/completions", json=chat_body(max_tokens=1)).status_code == 200


def test_a_budget_ends_a_stream_cleanly_and_then_refuses(new_gate: NewGate, shared_engine: Engine) -> None:
    """Guards against a stream that runs past its budget, one that is torn off, and a budget left unused."""
    gate = new_gate(shared_engine.url)
    set_price(gate)
    budget = 300 * TOKEN_PICOS
    limit = set_limit(gate, "spend", "lifetime", budget)
    body = stream_body(stream_options={"include_usage": True})
    with gate.client.stream("POST", "/v1/chat/completions", json=body) as response:
        assert response.status_code == 200, response.read()
        lines = [line for line in response.iter_lines() if line]
    assert lines[-1] == "data: [DONE]"
    assert '"finish_reason":"length"' in "".join(lines[-4:])
    row = gate.row(response.headers["x-request-id"])
    assert row["amount_picos"] <= budget
    assert row["amount_picos"] > budget * 0.7
    (call,) = shared_engine.calls(response.headers["x-request-id"])
    assert (row["prompt_tokens"], row["completion_tokens"]) == (
        call["prompt_tokens"],
        call["generated_tokens"],
    )

    def refused() -> httpx.Response | None:
        response = gate.client.post("/v1/chat/completions", json=chat_body(max_tokens=500, ignore_eos=True))
        return response if response.json().get("error", {}).get("code") == "insufficient_quota" else None

    response = wait_for(refused, "the budget's end")
    assert response.status_code == 429
    assert response.headers["x-should-retry"] == "false"
    assert "this project" in response.json()["error"]["message"]

    def at_rest() -> dict[str, Any] | None:
        (balance,) = gate.sql("SELECT * FROM limit_balance")
        return balance if balance["leased"] == 0 else None

    balance = wait_for(at_rest, "the leases' return")
    (spent,) = gate.sql("SELECT sum(amount_picos) picos FROM usage")
    assert balance["limit_id"] == limit.id
    assert balance["used"] == spent["picos"] <= budget
    assert budget - balance["used"] < 60 * TOKEN_PICOS


def test_an_unstreamed_answer_is_capped_to_what_is_left(new_gate: NewGate, shared_engine: Engine) -> None:
    """Guards against a call refused that the budget affords in part, and one that passes the budget."""
    gate = new_gate(shared_engine.url)
    set_price(gate)
    usage = gate.chat(max_tokens=1, ignore_eos=True)["usage"]
    set_limit(gate, "spend", "lifetime", (2 * usage["total_tokens"] + 20) * TOKEN_PICOS)
    time.sleep(1.0)
    client = gate.client

    def capped() -> httpx.Response | None:
        response = client.post("/v1/chat/completions", json=chat_body(max_tokens=100, ignore_eos=True))
        assert response.status_code in (200, 429), response.text
        return response if response.json().get("usage", {}).get("completion_tokens", 100) < 100 else None

    response = wait_for(capped, "a capped answer")
    assert response.json()["choices"][0]["finish_reason"] == "length"
    (spent,) = gate.sql("SELECT sum(amount_picos) picos FROM usage")
    assert spent["picos"] <= (2 * usage["total_tokens"] + 20) * TOKEN_PICOS


def test_slots_hold_and_come_back(new_gate: NewGate) -> None:
    """Guards against more calls in flight than allowed, and against slots that do not come back."""
    with ExitStack() as stack:
        engine = stack.enter_context(engine_thread(SimulatorConfig(tokens_per_second=20)))
        gate = new_gate(engine.url, workers=2)
        set_limit(gate, "concurrent", None, 2)
        clients = [stack.enter_context(gate.new_client(gate.secret)) for _ in range(6)]
        streams = []
        refused = 0
        for client in clients:
            request = client.build_request("POST", "/v1/chat/completions", json=stream_body(max_tokens=400))
            response = client.send(request, stream=True)
            if response.status_code == 200:
                streams.append(response)
            else:
                refused += 1
                assert response.status_code == 429
                assert "in flight" in response.read().decode()
        assert (len(streams), refused) == (2, 4)
        for response in streams:
            response.close()

        def again() -> bool | None:
            response = clients[-1].post("/v1/chat/completions", json=chat_body(max_tokens=1))
            return True if response.status_code == 200 else None

        wait_for(again, "a slot")


def test_a_limit_is_felt_on_every_worker_within_a_second(
    new_gate: NewGate, shared_engine: Engine, clients_of: ExitStack
) -> None:
    """Guards against workers that admit by limits of before."""
    gate = new_gate(shared_engine.url, workers=2)
    clients = [clients_of.enter_context(gate.new_client(gate.secret)) for _ in range(8)]
    for client in clients:
        client.post("/v1/chat/completions", json=chat_body(max_tokens=1))
    limit = set_limit(gate, "requests", "day", 0)
    time.sleep(1.0)
    for client in clients:
        response = client.post("/v1/chat/completions", json=chat_body(max_tokens=1))
        assert response.status_code == 429, response.text
        assert response.json()["error"]["code"] == "insufficient_quota"
    gate.change(lambda session: limit_settings.remove_limit(session, limit.id, now_us()))
    time.sleep(1.0)
    for client in clients:
        assert client.post("/v1/chat/completions", json=chat_body(max_tokens=1)).status_code == 200
