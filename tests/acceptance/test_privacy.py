"""What people write, what models answer, and secrets stay out of everything metergate writes down.

A ledger of tokens needs no text. Every call here carries a canary, in all the places a text can be; some
calls fail, in all the ways they can; then every file of the data folder, every word the processes said, and
every page they serve for operators is searched for it.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.acceptance import running
from tests.acceptance.running import Engine, Metergate

CANARY = "canary7Q2xv"
END_USER = "enduser5K8wz"  # a name that the ledger keeps, for limits of end users: nothing else may
WRONG_KEYS = (f"sk-mg-{CANARY}", f"sk-mg-{CANARY:0<49}", f"Bearer-{CANARY}")
# Of the data folder's files these two hold secrets, which is what they are for.
KEPT_SECRETS = {"secret.key", "first-run.json"}
FAULTS = (
    {"path": "/v1/chat/completions", "count": 1, "die_after_chunks": 2},
    {"path": "/v1/chat/completions", "count": 1, "die_before_headers": True},
    {"path": "/v1/chat/completions", "count": 1, "error_after_chunks": 2},
    {"path": "/v1/chat/completions", "count": 1, "status": 500, "body": {"error": CANARY}},
    {"path": "/v1/chat/completions", "count": 1, "status": 400, "body": {"error": {"message": CANARY}}},
)


@pytest.fixture
def paced(engine: Engine, tmp_path: Path) -> Iterator[Engine]:
    """A simulator of our own fails as we say; a real vLLM fails only as requests can make it."""
    if engine.kind == "vllm":
        yield engine
        return
    with running.simulator(
        tmp_path, "--tokens-per-second", "400", "--fault", json.dumps(FAULTS)
    ) as simulated:
        yield simulated


def chat(model: str, **more: Any) -> dict[str, Any]:
    said = [{"role": "system", "content": CANARY}, {"role": "user", "content": f"say {CANARY}"}]
    return {"model": model, "messages": said, "max_tokens": 30, "user": END_USER, "stop": [CANARY], **more}


def bodies(engine: Engine) -> list[tuple[str, bytes]]:
    """Calls that succeed and calls that fail, each with the canary somewhere in it."""
    model = engine.chat_model
    tool = {"type": "function", "function": {"name": CANARY, "parameters": {"title": CANARY}}}
    asked: list[tuple[str, Any]] = [
        *[("chat/completions", chat(model, stream=True))] * len(FAULTS),
        ("chat/completions", chat(model)),
        ("chat/completions", chat(model, stream=True, n=2)),
        ("chat/completions", chat(model, tools=[tool])),
        ("chat/completions", chat(model, temperature=CANARY)),
        ("chat/completions", chat(model, **{CANARY: CANARY})),
        ("chat/completions", chat(CANARY)),
        ("chat/completions", {"model": model, "messages": CANARY}),
        ("chat/completions", chat(model, messages=[{"role": "user", "content": f"{CANARY} " * 30_000}])),
        ("completions", {"model": model, "prompt": CANARY, "echo": True, "max_tokens": 4}),
        ("completions", {"model": model, "prompt": [CANARY], "echo": True, "stream": True}),
        ("embeddings", {"model": engine.embedding_model, "input": CANARY}),
        ("embeddings", {"model": engine.embedding_model, "input": {"text": CANARY}}),
        (f"{CANARY}/completions", chat(model)),
        (f"chat/completions?{CANARY}", chat(model)),
    ]
    broken = b'{"messages": "' + CANARY.encode()
    return [("chat/completions", broken), *((path, json.dumps(body).encode()) for path, body in asked)]


def make_calls(metergate: Metergate, engine: Engine) -> dict[int, int]:
    """How many calls came back with each status."""
    statuses: dict[int, int] = {}
    with httpx.Client(base_url=metergate.base_url, timeout=60) as client:
        rightly = {
            "Authorization": f"Bearer {metergate.api_key}",
            "X-Request-Id": CANARY,
            "Cookie": CANARY,
        }
        for path, body in bodies(engine):
            try:
                status = client.post(path, content=body, headers=rightly).status_code
            except httpx.RemoteProtocolError:  # the engine died in this stream
                status = 0
            statuses[status] = statuses.get(status, 0) + 1
        for secret in WRONG_KEYS:
            refused = client.get("models", headers={"Authorization": f"Bearer {secret}"})
            assert refused.status_code == 401
        for _ in range(3):
            body = chat(engine.chat_model, stream=True, max_tokens=300)
            with client.stream("POST", "chat/completions", json=body, headers=rightly) as answer:
                next(answer.iter_bytes())
    return statuses


def written(metergate: Metergate, *more: Path) -> dict[str, bytes]:
    files = [
        path for path in metergate.data_dir.rglob("*") if path.is_file() and path.name not in KEPT_SECRETS
    ]
    return {str(path): path.read_bytes() for path in (*files, *more)}


def test_neither_texts_nor_secrets_are_written_down(engine: Engine, paced: Engine, tmp_path: Path) -> None:
    """Guards logs of exceptions, journals, the database, metrics and errors passed on from the engine."""
    with running.metergate(paced.urls, tmp_path) as first:
        pass
    # The second start has nothing to announce: what it prints holds no key.
    again = tmp_path / "again"
    again.mkdir()
    (again / "data").symlink_to(tmp_path / "data")
    with running.metergate(paced.urls, again) as metergate:
        assert metergate.api_key == first.api_key
        statuses = make_calls(metergate, paced)
        pages = metergate.metrics().encode()
        exported = metergate.command("usage", "export", "--format", "csv").encode()
        while_running = written(metergate)
    assert statuses[200] >= 5
    assert statuses[400] >= 5
    assert {404} <= set(statuses)
    if engine.kind == "simulator":
        assert {500, 502, 503} & set(statuses)
    searched = {
        **{f"{name} (running)": content for name, content in while_running.items()},
        **written(metergate, metergate.output),
        "metrics": pages,
        "usage export": exported,
    }
    # What is there to be found is found: in the database, in a journal, in the export.
    holders = {name for name, content in searched.items() if metergate.project_id.encode() in content}
    assert any(name.endswith("metergate.db") for name in holders)
    assert "usage export" in holders
    assert any("journal" in name for name in searched)
    secrets = [metergate.api_key, metergate.admin_key, CANARY]
    found = [
        (name, secret)
        for name, content in searched.items()
        for secret in secrets
        if secret.encode() in content
    ]
    assert not found
    told = {name for name, content in searched.items() if END_USER.encode() in content}
    assert told
    assert {name for name in told if "metergate.db" not in name and "/journal/" not in name} == set()
