"""The engine's /tokenize and its usage tell one count, on the simulator and on a real vLLM."""

import asyncio
import json
from typing import Any

import httpx
import pytest

from proxy.asking import ask
from proxy.bounds import prompt_tokens_max
from proxy.call import read_call
from proxy.endpoints import CHAT, COMPLETIONS, EMBEDDINGS, Endpoint
from proxy.fields import Limits
from proxy.pool import Pool
from proxy.tokenizing import count_prompt
from proxy.upstream import Timeouts
from tests.acceptance.running import Engine
from tests.acceptance.sdk_tour import HELLO

TOOL = {
    "type": "function",
    "function": {
        "name": "sky",
        "description": "Tells the weather.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
CALLS: dict[str, tuple[Endpoint, dict[str, Any]]] = {
    "chat": (CHAT, {"messages": HELLO, "max_tokens": 1}),
    "tools": (CHAT, {"messages": HELLO, "tools": [TOOL], "max_tokens": 1}),
    "template": (CHAT, {"messages": HELLO, "chat_template_kwargs": {"x": 1}, "max_tokens": 1}),
    "completion": (COMPLETIONS, {"prompt": "the sky of today", "max_tokens": 1}),
    "completions": (COMPLETIONS, {"prompt": ["the sky", "of today"], "n": 2, "seed": 1, "max_tokens": 1}),
    "embeddings": (EMBEDDINGS, {"input": ["the sky", "of today"]}),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_prompt_is_counted_as_it_is_billed(engine: Engine, name: str) -> None:
    """Near the edge of a budget a call is admitted by this count."""
    endpoint, fields = CALLS[name]
    embeds = endpoint is EMBEDDINGS
    model = engine.embedding_model if embeds else engine.chat_model
    url = engine.embedding_url if embeds else engine.chat_url
    call = read_call(endpoint, json.dumps({"model": model, **fields}).encode(), Limits())
    body = call.engine_body(None)

    async def both() -> tuple[int | None, int]:
        pool = Pool(url, Timeouts())
        async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
            answer = await client.post(f"{url}{endpoint.engine_path}", json=json.loads(body))
            answer.raise_for_status()
            count = await count_prompt(lambda body: ask(pool, "/tokenize", body, 30), call, 30)
            pool.close()
            return count, answer.json()["usage"]["prompt_tokens"]

    counted, billed = asyncio.run(both())
    assert counted == billed
    assert prompt_tokens_max(call, len(body), None) >= billed
