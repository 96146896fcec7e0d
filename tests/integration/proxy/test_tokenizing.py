"""The engine's own count of a prompt: the count that its usage tells, or none."""

import asyncio
import json
from typing import Any

import pytest

from proxy.asking import Answer, ask
from proxy.call import Call, read_call
from proxy.endpoints import CHAT, COMPLETIONS, EMBEDDINGS, ENDPOINTS, Endpoint
from proxy.fields import Limits
from proxy.pool import Pool
from proxy.simulator import SimulatorConfig
from proxy.tokenizing import PROMPTS_MAX, Ask, count_prompt
from proxy.upstream import EngineUnreachable, Timeouts
from tests.engines import Engine, engine_thread

TOOL = {"type": "function", "function": {"name": "sky", "parameters": {"type": "object"}}}
HI = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What of the hills?"}]
PARTS = [{"role": "user", "content": [{"type": "text", "text": "What of"}, {"type": "text", "text": "it?"}]}]

CALLS: list[tuple[Endpoint, dict[str, Any]]] = [
    (CHAT, {"messages": HI}),
    (CHAT, {"messages": PARTS, "n": 3, "temperature": 1}),
    (CHAT, {"messages": HI, "tools": [TOOL], "tool_choice": "auto"}),
    (CHAT, {"messages": HI, "tools": [TOOL], "tool_choice": "none", "stream": False}),
    (COMPLETIONS, {"prompt": "one two"}),
    (COMPLETIONS, {"prompt": ["one two", "three", "four five six"], "n": 2, "temperature": 1}),
    (COMPLETIONS, {"prompt": [5, 6, 7]}),
    (COMPLETIONS, {"prompt": [[5, 6], [7]]}),
    (EMBEDDINGS, {"input": "one two"}),
    (EMBEDDINGS, {"input": ["one two", "three"]}),
    (EMBEDDINGS, {"input": [[5, 6, 7], [8]]}),
]


@pytest.fixture(scope="module")
def both() -> Any:
    """An engine that answers chat, completions and embeddings."""
    with engine_thread(SimulatorConfig(tokens_per_second=0)) as running:
        yield running


def read(endpoint: Endpoint, fields: dict[str, Any]) -> Call:
    return read_call(endpoint, json.dumps({"model": "simulated", **fields}).encode(), Limits())


def counted(url: str, call: Call, timeout_seconds: float = 10.0) -> int | None:
    async def count() -> int | None:
        pool = Pool(url, Timeouts())
        try:
            return await count_prompt(
                lambda body: ask(pool, "/tokenize", body, timeout_seconds), call, timeout_seconds
            )
        finally:
            pool.close()

    return asyncio.run(count())


@pytest.mark.parametrize(("endpoint", "fields"), CALLS, ids=lambda value: str(value)[:60])
def test_the_count_is_the_usage(both: Engine, endpoint: Endpoint, fields: dict[str, Any]) -> None:
    """A count that is off by one refuses the last call of a budget, or admits one too many."""
    call = read(endpoint, fields)
    body = json.loads(call.engine_body("salt"))
    answer = both.client.post(endpoint.engine_path, json=body).json()
    assert counted(both.url, call) == answer["usage"]["prompt_tokens"] > 0


@pytest.mark.parametrize(
    ("endpoint", "fields"),
    [
        (
            CHAT,
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
        ),
        (CHAT, {"messages": HI, "documents": [{"text": "a"}]}),
        (CHAT, {"messages": HI, "reasoning_effort": "high"}),
        (COMPLETIONS, {"prompt": ["a"] * (PROMPTS_MAX + 1)}),
    ],
    ids=["image", "documents", "effort", "many"],
)
def test_what_the_engine_cannot_count_is_not_asked(
    both: Engine, endpoint: Endpoint, fields: dict[str, Any]
) -> None:
    """A count without the image, or a thousand requests for one call."""
    assert counted(both.url, read(endpoint, fields)) is None


def test_what_is_cut_off_is_not_counted(both: Engine) -> None:
    """`truncate_prompt_tokens` shortens the prompt, and the bill."""
    assert counted(both.url, read(COMPLETIONS, {"prompt": "one two three", "truncate_prompt_tokens": 2})) == 2
    assert counted(both.url, read(EMBEDDINGS, {"input": [[1, 2, 3], [4]], "truncate_prompt_tokens": 2})) == 3


def answering(status: int, body: bytes) -> Ask:
    async def answer(_: bytes) -> Answer:
        return status, body

    return answer


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (404, b'{"detail":"Not Found"}'),
        (400, b'{"error":{"message":"no"}}'),
        (200, b"<html>"),
        (200, b"\xff"),
        (200, b"[]"),
        (200, b"{}"),
        (200, b'{"count":"3"}'),
        (200, b'{"count":true}'),
        (200, b'{"count":-1}'),
        (200, b'{"count":1.5}'),
        (200, b"[" * 100_000),
    ],
)
@pytest.mark.parametrize("endpoint", [CHAT, COMPLETIONS])
async def test_an_answer_that_is_no_count_is_none(status: int, body: bytes, endpoint: Endpoint) -> None:
    """An error raised here would refuse a call that its bound admits."""
    call = read(endpoint, {"messages": HI} if endpoint is CHAT else {"prompt": ["a", "b"]})
    assert await count_prompt(answering(status, body), call, 10.0) is None


async def test_an_engine_that_does_not_answer_is_not_waited_for() -> None:
    """A call must not hang on the question whether it may go on."""

    async def never(_: bytes) -> Answer:
        await asyncio.Event().wait()
        raise AssertionError

    async def refuses(_: bytes) -> Answer:
        raise EngineUnreachable("no engine", answered=False)

    for answer, prompt in ((never, ["a", "b"]), (refuses, ["a", "b"]), (refuses, "a")):
        assert await count_prompt(answer, read(COMPLETIONS, {"prompt": prompt}), 0.05) is None


def test_every_endpoint_has_its_count(both: Engine) -> None:
    """A path added later must not be counted wrong in silence."""
    inputs: dict[str, Any] = {"messages": HI, "prompt": "one two", "input": "one two"}
    for endpoint in ENDPOINTS.values():
        assert counted(both.url, read(endpoint, {endpoint.input_field: inputs[endpoint.input_field]}))
