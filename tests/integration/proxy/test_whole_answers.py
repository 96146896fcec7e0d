"""Unstreamed calls: the engine's own answer, its last word in the book, and what becomes of a client that
leaves.
"""

from typing import Any

import pytest

from tests.engines import Engine
from tests.integration.proxy.gate import CANARY, Gate, chat_body

CALLS: list[tuple[str, dict[str, Any]]] = [
    ("/v1/chat/completions", {"messages": [{"role": "user", "content": CANARY}], "max_tokens": 5}),
    (
        "/v1/chat/completions",
        {"messages": [{"role": "user", "content": CANARY}], "max_tokens": 5, "n": 3, "temperature": 1},
    ),
    ("/v1/completions", {"prompt": [f"{CANARY} one", f"{CANARY} two of them"], "max_tokens": 4}),
    ("/v1/completions", {"prompt": [5, 6, 7], "max_tokens": 4}),
    ("/v1/embeddings", {"input": [f"{CANARY} one", CANARY]}),
    ("/v1/embeddings", {"input": CANARY, "encoding_format": "base64"}),
]


@pytest.mark.parametrize(("path", "body"), CALLS, ids=lambda value: value if isinstance(value, str) else "")
def test_an_answer_is_the_engines_and_its_usage_is_the_rows(
    gate: Gate, calm_engine: Engine, path: str, body: dict[str, Any]
) -> None:
    """Nothing of an answer is rewritten on its way; what it used is what the engine said."""
    response = gate.client.post(path, json={"model": "simulated", **body})
    assert response.status_code == 200, response.text
    told = response.json()
    direct = calm_engine.client.post(path, json={"model": "simulated", **body}).json()
    for name in ("id", "created"):
        told.pop(name, None), direct.pop(name, None)
    cached = [one["usage"].pop("prompt_tokens_details", None) for one in (told, direct)]
    assert told == direct
    row = gate.row(response.headers["x-request-id"])
    assert row["usage_source"] == "final" and row["ending"] == "finished" and row["streamed"] == 0
    assert row["prompt_tokens"] == told["usage"]["prompt_tokens"]
    assert row["completion_tokens"] == told["usage"].get("completion_tokens", 0)
    assert row["cached_prompt_tokens"] == (cached[0] or {}).get("cached_tokens", 0)
    assert row["http_status"] == 200 and row["backend"] == calm_engine.url
    ids = (row["tenant_id"], row["project_id"], row["api_key_id"])
    assert ids == (gate.tenant_id, gate.project_id, gate.key_id)
    assert row["started_us"] < row["first_byte_us"] <= row["ended_us"]


def test_an_answer_has_the_sdks_headers(gate: Gate) -> None:
    """The SDK shows the request id; dashboards read the organization."""
    response = gate.client.post("/v1/chat/completions", json=chat_body(max_tokens=1))
    assert response.headers["x-request-id"].startswith("req_")
    assert response.headers["openai-organization"] == gate.tenant_id
    assert response.headers["openai-version"] == "2020-10-01"
    assert int(response.headers["openai-processing-ms"]) >= 0
    assert "server" not in response.headers


def test_the_simple_way_in(gate: Gate, calm_engine: Engine) -> None:
    """/generate: a prompt in, its text out, counted like any other."""
    response = gate.client.post("/generate", json={"prompt": CANARY, "max_tokens": 5})
    assert response.status_code == 200, response.text
    told = response.json()
    assert told.keys() == {"id", "model", "text", "finish_reason", "usage"}
    gate.answers.append(told["text"])
    assert told["text"] and told["usage"]["completion_tokens"] == 5
    row = gate.row(response.headers["x-request-id"])
    assert row["endpoint"] == "generate" and row["completion_tokens"] == 5


@pytest.mark.parametrize("reset", [False, True])
def test_a_client_that_leaves_pays_the_whole_answer(gate: Gate, calm_engine: Engine, reset: bool) -> None:
    """An unstreamed answer tells its usage at the end only: it is let finish, and billed the last word."""
    calm_engine.set_faults({"first_token_delay_ms": 300, "count": 1})
    before = len(calm_engine.calls())
    wire = gate.wire()
    wire.send(gate.request(chat_body(max_tokens=30, ignore_eos=True)))
    calm_engine.wait_for(lambda: len(calm_engine.calls()) > before or None, "the call to arrive")
    wire.reset() if reset else wire.close()
    request_id = calm_engine.calls()[-1]["request_id"]
    row = gate.row(request_id)
    assert calm_engine.call(request_id)["ended"] == "finished"
    assert row["usage_source"] == "final" and row["completion_tokens"] == 30


def test_models_are_listed_without_the_operators_files(gate: Gate) -> None:
    """vLLM tells the model's path on disk in `root`."""
    listed = gate.client.get("/v1/models").json()
    assert [model["id"] for model in listed["data"]] == ["simulated"]
    [model] = listed["data"]
    assert model.keys() == {"id", "object", "created", "owned_by", "max_model_len"}
    assert gate.client.get("/v1/models/simulated").json() == model
    unknown = gate.client.get("/v1/models/none")
    assert unknown.status_code == 404 and unknown.json()["error"]["code"] == "model_not_found"


def test_tenants_do_not_share_the_engines_cache(gate: Gate, calm_engine: Engine) -> None:
    """A tenant that times another's prompts would learn them; its own prompts are cached for itself."""
    prompt = f"{CANARY} " * 100
    for wanted in (False, True):
        told = gate.chat(text=prompt, max_tokens=1)
        assert bool(told["usage"]["prompt_tokens_details"]["cached_tokens"]) is wanted
    unsalted = calm_engine.client.post("/v1/chat/completions", json=chat_body(prompt, max_tokens=1)).json()
    assert unsalted["usage"]["prompt_tokens_details"]["cached_tokens"] == 0


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        ({"status": 400}, 400, None),
        ({"status": 401, "body": {"error": "Unauthorized"}}, 502, None),
        ({"status": 404, "body": {"detail": "Not Found"}}, 404, None),
        ({"status": 429}, 503, "engine_overloaded"),
        ({"status": 500}, 500, None),
        ({"status": 503}, 503, "engine_overloaded"),
        ({"status": 302, "headers": {"location": "http://127.0.0.1:1/"}}, 500, None),
    ],
    ids=str,
)
@pytest.mark.parametrize("stream", [False, True])
def test_an_engines_refusal_is_openais(
    gate: Gate, calm_engine: Engine, fault: dict[str, Any], status: int, code: str | None, stream: bool
) -> None:
    """Never vLLM's integer code, its string error or its FastAPI detail; and no row, for nothing was made."""
    calm_engine.set_faults(fault)
    response = gate.client.post("/v1/chat/completions", json=chat_body(stream=stream))
    assert response.status_code == status
    error = response.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"} and error["code"] == code
    assert response.headers["content-type"] == "application/json"
    if status == 503:
        assert int(response.headers["retry-after"]) >= 1 and "retry-after-ms" in response.headers
    calm_engine.set_faults()
    gate.row(gate.client.post("/v1/chat/completions", json=chat_body(max_tokens=1)).headers["x-request-id"])
    assert gate.sql(f"SELECT * FROM usage WHERE request_id = '{response.headers['x-request-id']}'") == []


def test_an_answer_of_another_shape_is_unresolved(gate: Gate, calm_engine: Engine) -> None:
    """A 200 without usage is passed on, since tokens were made, and listed for the operator."""
    calm_engine.set_faults({"status": 200, "body": {"hello": 1}})
    response = gate.client.post("/v1/chat/completions", json=chat_body())
    assert response.json() == {"hello": 1}
    row = gate.row(response.headers["x-request-id"])
    assert (row["usage_source"], row["completion_tokens"]) == ("unresolved", 0)
