"""What a key may do, through real workers: models, endpoints, addresses; and how OpenAI's SDK takes it."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from ledger import tenancy
from ledger.key_settings import change_api_key
from ledger.networks import Networks
from ledger.permissions import KeyScopes, ModelPermissions
from proxy.simulator import SimulatorConfig
from tests.engines import Engine, engine_thread
from tests.integration.proxy.conftest import NewGate
from tests.integration.proxy.gate import CANARY, Gate, chat_body, now_us, wait_for
from tests.integration.proxy.gate import gate as open_gate
from tests.permitted import allow_models, deny_models

CHAT = "/v1/chat/completions"


def restricted_key(gate: Gate, **restrictions: Any) -> tuple[str, str]:
    """(id, secret) of a new key with `model_permissions`, `scopes`, `networks`."""
    key_id, secret = gate.new_key()
    if "model_permissions" in restrictions:
        set_models(gate, key_id, restrictions["model_permissions"])
    if "scopes" in restrictions:
        scopes = KeyScopes.parse(restrictions["scopes"])
        gate.change(lambda session: change_api_key(session, key_id, {"scopes": scopes}, now_us()))
    if "networks" in restrictions:
        networks = Networks.parse(restrictions["networks"])
        gate.change(lambda session: change_api_key(session, key_id, {"networks": networks}, now_us()))
    return key_id, secret


def set_models(gate: Gate, key_id: str, permissions: ModelPermissions | None) -> None:
    gate.change(lambda session: change_api_key(session, key_id, {"model_permissions": permissions}, now_us()))


def sdk(gate: Gate, secret: str) -> openai.OpenAI:
    return openai.OpenAI(api_key=secret, base_url=f"{gate.url}/v1", max_retries=3)


def ask(gate: Gate, secret: str, *forwarded: str) -> httpx.Response:
    """A chat call with X-Forwarded-For lines."""
    lines = [("x-forwarded-for", line) for line in forwarded]
    with gate.new_client(secret) as client:
        return client.post(CHAT, json=chat_body(max_tokens=1), headers=lines)


def error_of(response: httpx.Response) -> dict[str, Any]:
    error: dict[str, Any] = response.json()["error"]
    return error


@pytest.fixture(scope="module")
def behind_proxies(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    """A data plane that trusts 127.0.0.1 and 10.0.0.0/8, before an engine with two models."""
    folder = tmp_path_factory.mktemp("behind")
    trusted = {"trusted_proxies": "127.0.0.1, 10.0.0.0/8"}
    with (
        engine_thread(SimulatorConfig(models=("simulated", "another"))) as engine,
        open_gate(sqlite_template, folder, [engine.url], **trusted) as running,
    ):
        yield running


def test_a_model_that_a_key_may_not_call_is_not_there(gate: Gate, calm_engine: Engine) -> None:
    """Guards against an answer by which a key could tell a denied model from none."""
    _, secret = restricted_key(gate, model_permissions=deny_models(["simulated", "no-such-model"]))
    before = calm_engine.totals()["calls"]
    answers = []
    with sdk(gate, secret) as client:
        for model in ("simulated", "no-such-model", "another"):
            with pytest.raises(openai.NotFoundError) as refused:
                client.chat.completions.create(model=model, messages=[{"role": "user", "content": CANARY}])
            assert refused.value.code == "model_not_found"
            with pytest.raises(openai.NotFoundError) as unseen:
                client.models.retrieve(model)
            assert unseen.value.code == "model_not_found"
            answers.append(refused.value.message.replace(model, "MODEL"))
    assert len(set(answers)) == 1, answers
    assert calm_engine.totals()["calls"] == before


def test_a_key_sees_the_models_it_may_call(behind_proxies: Gate) -> None:
    """Guards against a list that offers what is then refused."""
    with sdk(behind_proxies, behind_proxies.secret) as client:
        assert [model.id for model in client.models.list()] == ["another", "simulated"]
    with sdk(
        behind_proxies, restricted_key(behind_proxies, model_permissions=allow_models(["sim*ted"]))[1]
    ) as client:
        assert [model.id for model in client.models.list()] == ["simulated"]
        assert client.models.retrieve("simulated").id == "simulated"
    with sdk(behind_proxies, restricted_key(behind_proxies, model_permissions=allow_models([]))[1]) as client:
        assert list(client.models.list()) == []


def test_generate_takes_the_one_model_that_the_key_may_call(behind_proxies: Gate) -> None:
    """Guards against a default model that the key must not know of."""
    one = restricted_key(behind_proxies, model_permissions=allow_models(["simulated"]))[1]
    none = restricted_key(behind_proxies, model_permissions=deny_models(["simulated", "another"]))[1]
    body = {"prompt": CANARY, "max_tokens": 1}
    with behind_proxies.new_client(one) as client:
        assert client.post("/generate", json=body).json()["model"] == "simulated"
    with behind_proxies.new_client(none) as client:
        refused = client.post("/generate", json=body)
    assert refused.status_code == 400
    assert "simulated" not in refused.text and "another" not in refused.text


def test_a_project_binds_all_its_keys(gate: Gate) -> None:
    """Guards against a key that is given more than its project has."""
    project_id = gate.new_project()
    key_id, secret = gate.new_key(project_id)
    set_models(gate, key_id, allow_models(["*"]))
    assert ask(gate, secret).status_code == 200
    denied = deny_models(["sim*"])
    gate.change(lambda session: tenancy.set_project_models(session, project_id, denied, now_us()))
    refused = wait_for(lambda: not_ok(ask(gate, secret)), "the project's permissions")
    assert (refused.status_code, error_of(refused)["code"]) == (404, "model_not_found")
    assert ask(gate, gate.secret).status_code == 200


def not_ok(response: httpx.Response) -> httpx.Response | None:
    return None if response.status_code == 200 else response


def test_a_scope_that_a_key_has_not_is_openais_403(gate: Gate, calm_engine: Engine) -> None:
    """Guards against a key for embeddings that chats, and against an SDK that tries it four times."""
    _, secret = restricted_key(gate, scopes=["embeddings", "models"])
    before = calm_engine.totals()["calls"]
    with sdk(gate, secret) as client:
        with pytest.raises(openai.PermissionDeniedError) as refused:
            client.chat.completions.create(
                model="simulated", messages=[{"role": "user", "content": CANARY}], stream=True
            )
        assert list(client.models.list())
    assert refused.value.code == "insufficient_permissions"
    assert "Missing scopes: chat.completions" in refused.value.message
    assert refused.value.response.headers["x-should-retry"] == "false"
    assert calm_engine.totals()["calls"] == before
    with gate.new_client(restricted_key(gate, scopes=["chat.completions"])[1]) as client:
        assert client.post(CHAT, json=chat_body(max_tokens=1)).status_code == 200
        for path in ("/v1/models", "/v1/models/simulated"):
            assert "Missing scopes: models" in error_of(client.get(path))["message"]
        assert client.get("/healthz").status_code == 200


def test_without_trusted_proxies_nobodys_word_counts(gate: Gate) -> None:
    """Guards against a client that writes an allowed address into a header."""
    _, secret = restricted_key(gate, networks=["203.0.113.0/24"])
    for forwarded in ((), ("203.0.113.7",), ("203.0.113.7, 127.0.0.1",)):
        refused = ask(gate, secret, *forwarded)
        assert refused.status_code == 403
        assert refused.headers["x-should-retry"] == "false"
        assert error_of(refused)["code"] == "ip_not_authorized"
        assert error_of(refused)["message"] == "Your IP 127.0.0.1 is not authorized for this API key."
    with gate.new_client(secret) as client:
        for path in ("/v1/models", "/v1/models/simulated"):
            assert error_of(client.get(path))["code"] == "ip_not_authorized"
    with sdk(gate, secret) as sdk_client, pytest.raises(openai.PermissionDeniedError):
        sdk_client.models.list()
    assert ask(gate, restricted_key(gate, networks=["127.0.0.0/8"])[1]).status_code == 200


@pytest.fixture(scope="module")
def bound_secret(behind_proxies: Gate) -> str:
    """A key that is bound to 203.0.113.0/24."""
    return restricted_key(behind_proxies, networks=["203.0.113.0/24"])[1]


@pytest.mark.parametrize(
    ("forwarded", "seen_as"),
    [
        (("203.0.113.7",), None),
        (("203.0.113.7, 10.1.2.3",), None),
        (("203.0.113.7", "10.1.2.3"), None),
        (("198.51.100.1, 203.0.113.7",), None),
        ((), "127.0.0.1"),
        (("203.0.113.7, 198.51.100.1",), "198.51.100.1"),
        (("203.0.113.7", "198.51.100.1"), "198.51.100.1"),
        (("198.51.100.1, 10.1.2.3",), "198.51.100.1"),
        (("203.0.113.7, nobody",), "127.0.0.1"),
        (("203.0.113.7, nobody, 10.1.2.3",), "10.1.2.3"),
    ],
)
def test_a_trusted_proxys_word_is_read_from_the_right(
    behind_proxies: Gate, bound_secret: str, forwarded: tuple[str, ...], seen_as: str | None
) -> None:
    """Guards against what a client sends through the proxy winning over what the proxy adds."""
    answer = ask(behind_proxies, bound_secret, *forwarded)
    if seen_as is None:
        assert answer.status_code == 200, answer.text
    else:
        assert answer.status_code == 403
        assert f"Your IP {seen_as} is not" in error_of(answer)["message"]


def test_another_peer_than_the_proxy_is_not_believed(behind_proxies: Gate, bound_secret: str) -> None:
    """Guards against a client that goes round the proxy, from the same network."""
    transport = httpx.HTTPTransport(local_address="127.0.0.2")
    headers = {"authorization": f"Bearer {bound_secret}", "x-forwarded-for": "203.0.113.7"}
    with httpx.Client(transport=transport, base_url=behind_proxies.url, headers=headers) as client:
        assert "Your IP 127.0.0.2 is" in error_of(client.get("/v1/models"))["message"]


def connect_to(gate: Gate, number: int, stack: ExitStack) -> Callable[[], httpx.Response]:
    """A kept connection to one worker: the others are stopped while it is made."""
    others = [process.popen.pid for at, process in enumerate(gate.workers) if at != number]
    client = stack.enter_context(gate.new_client(gate.secret))
    try:
        for pid in others:
            os.kill(pid, signal.SIGSTOP)
            os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOWAIT)
        assert client.get("/healthz").status_code == 200
    finally:
        for pid in others:
            os.kill(pid, signal.SIGCONT)
    return lambda: client.post(CHAT, json=chat_body(max_tokens=1))


def test_a_change_reaches_every_worker(new_gate: NewGate, shared_engine: Engine) -> None:
    """Guards against a worker that goes by what it once read, in either direction."""
    gate = new_gate(shared_engine.url, workers=2)
    with ExitStack() as stack:
        workers = [connect_to(gate, number, stack) for number in range(2)]

        def until(status: int) -> None:
            for ask_worker in workers:
                wait_for(
                    lambda ask_worker=ask_worker: ask_worker().status_code == status or None, str(status)
                )

        until(200)
        set_models(gate, gate.key_id, deny_models(["sim*"]))
        until(404)
        set_models(gate, gate.key_id, None)
        until(200)
        scopes, networks = KeyScopes.parse(["models"]), Networks.parse(["192.0.2.1"])
        gate.change(lambda session: change_api_key(session, gate.key_id, {"scopes": scopes}, now_us()))
        until(403)
        gate.change(lambda session: change_api_key(session, gate.key_id, {"scopes": None}, now_us()))
        until(200)
        gate.change(lambda session: change_api_key(session, gate.key_id, {"networks": networks}, now_us()))
        until(403)
