"""An app on LlamaIndex's OpenAI packages changes api_base and key, and nothing else.

HTTP clients that it makes itself are closed by nobody, so the tests hand it theirs.
"""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from llama_index.core.llms import ChatMessage
from llama_index.llms.openai import OpenAI
from llama_index.llms.openai_like import OpenAILike
from openai import NotFoundError

from tests.acceptance.running import Engine, Metergate

ASK = [ChatMessage(role="user", content="hello, what is the weather?")]


def like(
    engine: Engine, metergate: Metergate, http: httpx.Client, async_http: httpx.AsyncClient | None, chat: bool
) -> list[OpenAI]:
    """The class for servers that speak as OpenAI does, once for the engine and once for metergate."""
    return [
        OpenAILike(
            model=engine.chat_model,
            api_base=base_url,
            api_key=api_key,
            is_chat_model=chat,
            context_window=1024,
            temperature=0,
            max_tokens=12,
            max_retries=0,
            http_client=http,
            async_http_client=async_http,
        )
        for base_url, api_key in (
            (f"{engine.chat_url}/v1", "none"),
            (metergate.base_url, metergate.api_key),
        )
    ]


@pytest.fixture
def http() -> Iterator[httpx.Client]:
    with httpx.Client(timeout=60) as client:
        yield client


@pytest.fixture
async def async_http() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(timeout=60) as client:
        yield client


@pytest.fixture
def chats(engine: Engine, metergate: Metergate, http: httpx.Client) -> list[OpenAI]:
    return like(engine, metergate, http, None, chat=True)


@pytest.fixture
def async_chats(
    engine: Engine, metergate: Metergate, http: httpx.Client, async_http: httpx.AsyncClient
) -> list[OpenAI]:
    return like(engine, metergate, http, async_http, chat=True)


@pytest.fixture
def completions(engine: Engine, metergate: Metergate, http: httpx.Client) -> list[OpenAI]:
    return like(engine, metergate, http, None, chat=False)


def test_complete(completions: list[OpenAI]) -> None:
    expected, got = (model.complete("hello").text for model in completions)
    assert got == expected


def test_stream_complete(completions: list[OpenAI]) -> None:
    expected, got = ([step.text for step in model.stream_complete("hello")][-1] for model in completions)
    assert got == expected


def test_chat(chats: list[OpenAI]) -> None:
    expected, got = (model.chat(ASK) for model in chats)
    assert got.message.content == expected.message.content
    assert usage(got) == usage(expected)


def test_stream_chat(chats: list[OpenAI]) -> None:
    expected, got = ([step.message.content for step in model.stream_chat(ASK)][-1] for model in chats)
    assert got == expected


async def test_achat(async_chats: list[OpenAI]) -> None:
    expected, got = [await model.achat(ASK) for model in async_chats]
    assert got.message.content == expected.message.content
    assert usage(got) == usage(expected)


async def test_astream_chat(async_chats: list[OpenAI]) -> None:
    texts = []
    for model in async_chats:
        steps = [step async for step in await model.astream_chat(ASK)]
        texts.append(steps[-1].message.content)
    assert texts[1] == texts[0]


def test_openais_own_class_too(metergate: Metergate, http: httpx.Client) -> None:
    """OpenAI's own class only asks for names it knows, which nobody serves here: the app is told so."""
    model = OpenAI(
        model="gpt-4o-mini",
        api_base=metergate.base_url,
        api_key=metergate.api_key,
        max_retries=0,
        http_client=http,
    )
    with pytest.raises(NotFoundError) as refused:
        model.chat(ASK)
    assert refused.value.code == "model_not_found"


def usage(answer: Any) -> tuple[int, int]:
    return answer.raw.usage.prompt_tokens, answer.raw.usage.completion_tokens
