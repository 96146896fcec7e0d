"""Who may call: keys of every state, and what a worker knows while the ledger changes or is away."""

from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from ledger import keys, tenancy
from ledger.states import ProjectState, TenantState
from tests.engines import Engine
from tests.integration.proxy.conftest import NewGate
from tests.integration.proxy.gate import Gate, chat_body, now_us, wait_for

CHAT = "/v1/chat/completions"
FOLLOWED_S = 1.0


def ask(gate: Gate, secret: str) -> httpx.Response:
    with gate.new_client(secret) as client:
        return client.post(CHAT, json=chat_body(max_tokens=1))


def until(gate: Gate, secret: str, status: int) -> httpx.Response:
    """Asks until the answer has this status."""

    def look() -> httpx.Response | None:
        answer = ask(gate, secret)
        return answer if answer.status_code == status else None

    return wait_for(look, f"status {status}")


@pytest.mark.parametrize(
    ("secret", "code"),
    [
        ("", None),
        ("sk-mg-short", "invalid_api_key"),
        ("sk-proj-" + "a" * 150, "invalid_api_key"),
        ("sk-mg-" + "a" * 49, "invalid_api_key"),
        ("sk-mg-" + "é" * 10, "invalid_api_key"),
        (keys.mint(), "invalid_api_key"),
        (keys.mint(keys.ADMIN_PREFIX), "invalid_api_key"),
        ("x" * 10_000, "invalid_api_key"),
    ],
    ids=["none", "short", "openai", "checksum", "accents", "unknown", "admin", "long"],
)
def test_a_wrong_key_is_openais_401(gate: Gate, calm_engine: Engine, secret: str, code: str | None) -> None:
    """The SDK raises AuthenticationError; the key itself comes back redacted at most."""
    before = calm_engine.totals()["calls"]
    headers = {"authorization": f"Bearer {secret}".encode()} if secret else {}
    response = httpx.post(f"{gate.url}{CHAT}", json=chat_body(), headers=headers, trust_env=False)
    assert response.status_code == 401
    error = response.json()["error"]
    assert (error["type"], error["code"]) == ("invalid_request_error", code)
    assert not secret or secret not in response.text
    assert calm_engine.totals()["calls"] == before


@pytest.mark.parametrize("header", ["api-key", "x-api-key"])
def test_a_key_in_another_header_is_taken(gate: Gate, header: str) -> None:
    """Azure's and Anthropic's clients know no Bearer."""
    response = httpx.post(f"{gate.url}{CHAT}", json=chat_body(max_tokens=1), headers={header: gate.secret})
    assert response.status_code == 200


def block_key(gate: Gate, key_id: str) -> Callable[[AsyncSession], Awaitable[Any]]:
    return lambda session: tenancy.block_api_key(session, key_id, now_us())


def revoke_key(gate: Gate, key_id: str) -> Callable[[AsyncSession], Awaitable[Any]]:
    return lambda session: tenancy.revoke_api_key(session, key_id, now_us())


@pytest.mark.parametrize(
    ("change", "status", "code"), [(block_key, 403, "access_blocked"), (revoke_key, 401, "invalid_api_key")]
)
def test_a_key_that_changes_stops_working(gate: Gate, change: Any, status: int, code: str) -> None:
    """A cached principal outlived its key: a leaked key could not be stopped."""
    key_id, secret = gate.new_key()
    assert ask(gate, secret).status_code == 200
    gate.change(change(gate, key_id))
    assert until(gate, secret, status).json()["error"]["code"] == code
    assert ask(gate, secret).status_code == status
    assert ask(gate, gate.secret).status_code == 200


def test_a_blocked_key_that_is_let_in_again_works(gate: Gate) -> None:
    """A refusal must not be kept for longer than its reason."""
    key_id, secret = gate.new_key()
    gate.change(block_key(gate, key_id))
    assert ask(gate, secret).status_code == 403
    gate.change(lambda session: tenancy.unblock_api_key(session, key_id, now_us()))
    until(gate, secret, 200)


def test_a_blocked_project_stops_its_keys_only(gate: Gate) -> None:
    """The change names the project; the cache is by key."""
    project_id = gate.new_project()
    _, secret = gate.new_key(project_id)
    assert ask(gate, secret).status_code == 200
    gate.change(
        lambda session: tenancy.set_project_state(session, project_id, ProjectState.BLOCKED, now_us())
    )
    assert "project" in until(gate, secret, 403).json()["error"]["message"]
    assert ask(gate, gate.secret).status_code == 200


def test_a_key_expires_by_the_clock(gate: Gate) -> None:
    """No change is written when a key expires: the cached principal has to be looked at each time."""
    _, secret = gate.new_key(expires_us=now_us() + 1_500_000)
    assert ask(gate, secret).status_code == 200
    error = until(gate, secret, 401).json()["error"]
    assert error["code"] == "invalid_api_key" and "expired" in error["message"]


def test_a_key_made_after_it_was_refused_works(gate: Gate) -> None:
    """A refusal of an unknown key is remembered; a new key must not wait for that to pass."""
    _, secret = gate.new_key()
    assert ask(gate, secret).status_code == 200


def test_a_blocked_tenant_stops_everything(new_gate_on_both: NewGate, shared_engine: Engine) -> None:
    """Who does not pay is stopped as a whole, and let in again as a whole."""
    gate = new_gate_on_both(shared_engine.url)
    assert ask(gate, gate.secret).status_code == 200

    def set_state(state: TenantState) -> None:
        gate.change(lambda session: tenancy.set_tenant_state(session, gate.tenant_id, state, now_us()))

    set_state(TenantState.BLOCKED)
    assert until(gate, gate.secret, 403).json()["error"]["code"] == "access_blocked"
    set_state(TenantState.ACTIVE)
    until(gate, gate.secret, 200)


def test_a_key_that_changes_stops_working_within_a_second(
    new_gate_on_both: NewGate, shared_engine: Engine
) -> None:
    """On every worker, whichever of them a call meets: one that follows the log badly lets a leaked key in.

    The clock is the ledger's own: from the change's commit to the first refusal of each worker.
    """
    gate = new_gate_on_both(shared_engine.url, workers=2)
    key_id, secret = gate.new_key()
    clients = [gate.new_client(secret) for _ in range(12)]  # the kernel spreads connections over the workers
    for client in clients:
        assert client.post(CHAT, json=chat_body(max_tokens=1)).status_code == 200
    gate.change(lambda session: tenancy.revoke_api_key(session, key_id, now_us()))
    [change] = gate.sql(f"SELECT at_us FROM change WHERE subject_id = '{key_id}' AND kind LIKE '%revoked'")
    for client in clients:
        wait_for(
            lambda client=client: client.post(CHAT, json=chat_body(max_tokens=1)).status_code == 401 or None,
            "the refusal",
        )
        client.close()
    # Not one call that began a second after the change has been served.
    late = f"SELECT count(*) AS n FROM usage WHERE api_key_id = '{key_id}' AND started_us > {change['at_us']}"
    gate.totals(len(clients))
    assert gate.sql(f"{late} + {int(FOLLOWED_S * 1e6)}") == [{"n": 0}]


def test_without_the_ledger_known_keys_go_on(new_gate_on_both: NewGate, shared_engine: Engine) -> None:
    """The database is away: who was here before is served, who was not is told to come again.

    A malformed key is refused as ever, which shows that it never reaches the database.
    """
    gate = new_gate_on_both(shared_engine.url)
    assert ask(gate, gate.secret).status_code == 200
    _, other = gate.new_key()
    gate.sql("ALTER TABLE api_key RENAME TO away")
    refused = ask(gate, other)
    assert refused.status_code == 503
    assert (
        refused.json()["error"]["code"] == "ledger_unavailable" and int(refused.headers["retry-after-ms"]) > 0
    )
    assert ask(gate, gate.secret).status_code == 200
    assert ask(gate, "sk-mg-" + "a" * 49).status_code == 401
    gate.sql("ALTER TABLE away RENAME TO api_key")
    until(gate, other, 200)
    # A failing change log: what is known goes on, and the worker says that not all is well.
    gate.sql("ALTER TABLE change RENAME TO change_away")
    wait_for(lambda: gate.client.get("/readyz").json()["status"] == "degraded" or None, "degraded")
    assert ask(gate, gate.secret).status_code == 200
    gate.sql("ALTER TABLE change_away RENAME TO change")
    wait_for(lambda: gate.client.get("/readyz").json()["status"] == "ready" or None, "ready again")
    gate.change(lambda session: tenancy.revoke_api_key(session, gate.key_id, now_us()))
    until(gate, gate.secret, 401)
