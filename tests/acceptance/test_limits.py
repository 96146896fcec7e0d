"""Limits as an app on the official client meets them: waits that end, budgets that do not, streams that end
well. The limits are set as an operator sets them, by command, while everything runs.
"""

import json
import time
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import OpenAI

from tests.acceptance.running import Engine, Metergate

HELLO: Any = [{"role": "user", "content": "Say hello to the hills."}]


@pytest.fixture
def key(metergate: Metergate) -> dict[str, Any]:
    """A key of this test's own."""
    made: dict[str, Any] = json.loads(
        metergate.command("key", "create", "--project", metergate.project_id, "--json")
    )
    return made


@pytest.fixture
def client(metergate: Metergate, key: dict[str, Any]) -> Iterator[OpenAI]:
    with OpenAI(base_url=metergate.base_url, api_key=key["key"], max_retries=4, timeout=60) as made:
        yield made


def limit(metergate: Metergate, key: dict[str, Any], *words: str) -> None:
    """Set before the key's first call: no worker has to hear of it."""
    metergate.command("limit", "set", "--key", key["id"], *words)


def test_the_client_waits_out_a_rate_by_itself(
    engine: Engine, metergate: Metergate, key: dict[str, Any], client: OpenAI
) -> None:
    """Guards against a `retry-after-ms` that the official client follows in vain."""
    limit(metergate, key, "--kind", "requests", "--max", "120", "--window", "minute", "--burst", "2")
    for _ in range(6):
        answer = client.chat.completions.with_raw_response.create(
            model=engine.chat_model, messages=HELLO, max_tokens=1
        )
        assert answer.headers["x-ratelimit-limit-requests"] == "120"
        assert answer.retries_taken <= 2


def test_an_exhausted_budget_is_not_tried_again(
    engine: Engine, metergate: Metergate, key: dict[str, Any], client: OpenAI
) -> None:
    """Guards against a client that asks five times for what will not come."""
    limit(metergate, key, "--kind", "tokens", "--max", "3", "--window", "month")
    with pytest.raises(openai.RateLimitError) as refused:
        client.chat.completions.create(model=engine.chat_model, messages=HELLO, max_tokens=1)
    assert refused.value.code == "insufficient_quota"
    assert "this API key" in refused.value.message
    assert refused.value.response.headers["x-should-retry"] == "false"
    assert "x-stainless-retry-count" not in refused.value.request.headers or (
        refused.value.request.headers["x-stainless-retry-count"] == "0"
    )


def test_a_stream_at_its_budget_ends_like_any_other(
    engine: Engine, metergate: Metergate, key: dict[str, Any], client: OpenAI
) -> None:
    """Guards against an app that sees a broken stream where its budget ended."""
    limit(metergate, key, "--kind", "tokens", "--max", "60", "--window", "month")
    stream = client.chat.completions.create(
        model=engine.chat_model,
        messages=HELLO,
        max_tokens=400,
        stream=True,
        stream_options={"include_usage": True},
        extra_body={"ignore_eos": True},
    )
    chunks = list(stream)
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "length"
    usage = chunks[-1].usage
    assert usage is not None
    assert usage.total_tokens <= 60


def test_a_key_sees_what_is_left(
    engine: Engine, metergate: Metergate, key: dict[str, Any], client: OpenAI
) -> None:
    """Guards against a /v1/key that knows nothing of what was used."""
    limit(metergate, key, "--kind", "requests", "--max", "10", "--window", "day")
    client.chat.completions.create(model=engine.chat_model, messages=HELLO, max_tokens=1)
    until = time.monotonic() + 30
    while time.monotonic() < until:
        (seen,) = client.get("/key", cast_to=dict[str, Any])["data"]["limits"]
        if seen["used"] == 1:
            break
        time.sleep(0.1)
    assert (seen["max"], seen["used"], seen["remaining"]) == (10, 1, 9)
