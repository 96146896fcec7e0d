"""An app on LangChain's OpenAI package changes base_url and key, and nothing else.

LangChain does not ask for a stream's usage when base_url is set, and sends token ids instead of texts when it
embeds, unless it is told not to. HTTP clients that it makes itself are cached for good and closed by nobody,
so the tests hand it theirs.
"""

from collections.abc import Iterator
from typing import Any, Literal

import httpx
import pytest
from langchain_core.messages import AIMessageChunk
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAI, OpenAIEmbeddings
from pydantic import BaseModel, ConfigDict, SecretStr

from tests.acceptance.running import Engine, Metergate

ASK = "hello, what is the weather?"


class Weather(BaseModel):
    """The weather in a city."""

    model_config = ConfigDict(extra="forbid")

    city: Literal["Oslo", "Lima"]
    sunny: bool


@tool
def weather(city: Literal["Oslo", "Lima"]) -> str:
    """The weather of a city."""
    return f"fine in {city}"


def both(engine: Engine, metergate: Metergate) -> list[dict[str, Any]]:
    """How to reach the engine, and how to reach it through metergate."""
    return [
        {"base_url": f"{engine.chat_url}/v1", "api_key": SecretStr("none")},
        {"base_url": metergate.base_url, "api_key": SecretStr(metergate.api_key)},
    ]


@pytest.fixture
def http() -> Iterator[httpx.Client]:
    with httpx.Client(timeout=60) as client:
        yield client


def chat(engine: Engine, **more: Any) -> ChatOpenAI:
    return ChatOpenAI(
        model=engine.chat_model, temperature=0, max_retries=0, **{"max_completion_tokens": 200, **more}
    )


@pytest.fixture
def models(engine: Engine, metergate: Metergate, http: httpx.Client) -> list[ChatOpenAI]:
    return [chat(engine, http_client=http, **way) for way in both(engine, metergate)]


def seen(message: Any) -> dict[str, Any]:
    """A message without its random ids."""
    calls = [{name: call[name] for name in ("name", "args")} for call in message.tool_calls]
    return {
        "content": message.content,
        "calls": calls,
        "usage": message.usage_metadata,
        "finish": message.response_metadata.get("finish_reason"),
    }


def test_invoke(models: list[ChatOpenAI]) -> None:
    expected, got = (seen(model.bind(max_completion_tokens=12).invoke(ASK)) for model in models)
    assert got == expected
    assert got["usage"]["output_tokens"] == 12


@pytest.mark.parametrize("stream_usage", [None, True])
def test_stream(models: list[ChatOpenAI], stream_usage: bool | None) -> None:
    answers = []
    for model in models:
        whole: Any = AIMessageChunk(content="")
        for chunk in model.bind(max_completion_tokens=16).stream(ASK, stream_usage=stream_usage):
            whole += chunk
        answers.append(seen(whole))
    assert answers[1] == answers[0]
    assert answers[1]["content"]
    if stream_usage:
        assert answers[1]["usage"]["output_tokens"] == 16


async def test_astream(engine: Engine, metergate: Metergate, http: httpx.Client) -> None:
    texts = []
    async with httpx.AsyncClient(timeout=60) as async_http:
        for way in both(engine, metergate):
            model = chat(engine, http_client=http, http_async_client=async_http, **way)
            chunks = [chunk async for chunk in model.bind(max_completion_tokens=16).astream(ASK)]
            texts.append("".join(str(chunk.content) for chunk in chunks))
    assert texts[1] == texts[0]


def test_batch(models: list[ChatOpenAI]) -> None:
    """Several calls at once; each question gets its own answer."""
    questions: list[Any] = ["hello", "what is the weather", "please count"]
    expected, got = (
        [seen(answer) for answer in model.bind(max_completion_tokens=8).batch(questions)] for model in models
    )
    assert [answer["usage"] for answer in got] == [answer["usage"] for answer in expected]
    assert len({answer["content"] for answer in got}) == 3


def test_tools(models: list[ChatOpenAI]) -> None:
    expected, got = (
        seen(model.bind_tools([weather], tool_choice="weather", strict=True).invoke(ASK)) for model in models
    )
    assert got == expected
    assert got["calls"][0]["name"] == "weather"
    assert got["calls"][0]["args"]["city"] in {"Oslo", "Lima"}


def test_tools_streamed(models: list[ChatOpenAI]) -> None:
    answers = []
    for model in models:
        whole: Any = None
        for chunk in model.bind_tools([weather], tool_choice="weather", strict=True).stream(ASK):
            whole = chunk if whole is None else whole + chunk
        answers.append(seen(whole))
    assert answers[1] == answers[0]
    assert answers[1]["calls"][0]["args"]["city"] in {"Oslo", "Lima"}


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_structured_output(
    models: list[ChatOpenAI], method: Literal["json_schema", "function_calling"]
) -> None:
    expected, got = (
        model.with_structured_output(Weather, method=method, strict=True).invoke(ASK) for model in models
    )
    assert isinstance(got, Weather)
    assert got == expected


def test_completions(engine: Engine, metergate: Metergate, http: httpx.Client) -> None:
    ask: dict[str, Any] = {"model": engine.chat_model, "temperature": 0, "max_tokens": 12, "max_retries": 0}
    expected, got = (
        OpenAI(**ask, http_client=http, **way).invoke("hello") for way in both(engine, metergate)
    )
    assert got == expected


@pytest.mark.parametrize("as_token_ids", [False, True])
def test_embeddings(engine: Engine, metergate: Metergate, http: httpx.Client, as_token_ids: bool) -> None:
    """Token ids are what LangChain sends by default; it makes them with OpenAI's tokenizer, whose table a
    machine may not be able to fetch, so ids are given here.
    """
    texts: Any = [[300, 301], [302]] if as_token_ids else ["hello there", "what"]
    vectors = [
        OpenAIEmbeddings(
            model=engine.embedding_model,
            base_url=url,
            api_key=SecretStr(key),
            max_retries=0,
            check_embedding_ctx_length=False,
            http_client=http,
        ).embed_documents(texts)
        for url, key in (
            (f"{engine.embedding_url}/v1", "none"),
            (metergate.base_url, metergate.api_key),
        )
    ]
    assert vectors[1] == vectors[0]
    assert len(vectors[1]) == 2
