"""An app on the official OpenAI client (the lock file's 2.x) changes base_url and key, and nothing else."""

import openai
import pytest
from openai import AsyncOpenAI, OpenAI

from tests.acceptance.comparing import assert_same
from tests.acceptance.running import Engine, Metergate
from tests.acceptance.sdk_tour import GREEDY, HELLO, STOPS, USAGE, Models, gathered, plain

TIMEOUT_S = 60


def client(metergate: Metergate, api_key: str | None = None) -> OpenAI:
    return OpenAI(
        base_url=metergate.base_url, api_key=api_key or metergate.api_key, max_retries=0, timeout=TIMEOUT_S
    )


def direct(engine: Engine, stop: str = "") -> OpenAI:
    """A client of the engine itself, at the server that answers this stop."""
    url = engine.embedding_url if stop.startswith("embedding") else engine.chat_url
    return OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=TIMEOUT_S)


def models(engine: Engine) -> Models:
    return Models(engine.chat_model, engine.embedding_model)


@pytest.mark.parametrize("stop", STOPS)
def test_the_answer_is_the_engines(engine: Engine, metergate: Metergate, stop: str) -> None:
    """Guards every field on its way: a relay that adds, drops or rewrites shows here."""
    with direct(engine, stop) as at_engine, client(metergate) as through:
        assert_same(STOPS[stop](at_engine, models(engine)), STOPS[stop](through, models(engine)), engine.kind)


async def test_the_async_client_gets_the_engines_answers(engine: Engine, metergate: Metergate) -> None:
    """The async client reads the stream by another way, over the same connection pool."""
    chat = {"model": engine.chat_model, "messages": HELLO, "max_tokens": 12, **GREEDY}
    answers = []
    for base_url, embedding_url, api_key in (
        (f"{engine.chat_url}/v1", f"{engine.embedding_url}/v1", "none"),
        (metergate.base_url, metergate.base_url, metergate.api_key),
    ):
        async with (
            AsyncOpenAI(base_url=base_url, api_key=api_key, max_retries=0, timeout=TIMEOUT_S) as asked,
            AsyncOpenAI(base_url=embedding_url, api_key=api_key, max_retries=0, timeout=TIMEOUT_S) as embeds,
        ):
            stream = await asked.chat.completions.create(**chat, stream=True, **USAGE)
            chunks = [chunk async for chunk in stream]
            completions = await asked.completions.create(
                model=engine.chat_model, prompt="hello", max_tokens=6, stream=True, **GREEDY
            )
            answers.append(
                {
                    "chat": plain(await asked.chat.completions.create(**chat)),
                    "stream": gathered(chunks),
                    "completions": gathered([chunk async for chunk in completions]),
                    "embedding": plain(
                        await embeds.embeddings.create(model=engine.embedding_model, input="hi")
                    ),
                }
            )
    assert_same(*answers, engine.kind)


def test_usage_comes_only_where_it_was_asked_for(engine: Engine, metergate: Metergate) -> None:
    """Metering asks the engine for usage on every chunk; a client that did not ask must not see it:
    LangChain and others add up every usage they see.
    """
    ask = {"model": engine.chat_model, "messages": HELLO, "max_tokens": 5, "stream": True, **GREEDY}
    with client(metergate) as through:
        without = list(through.chat.completions.create(**ask))
        asked = list(through.chat.completions.create(**ask, **USAGE))
    assert not any("usage" in chunk.model_fields_set and chunk.usage for chunk in without)
    assert all(chunk.choices for chunk in without)
    assert [chunk.usage is not None for chunk in asked] == [False] * (len(asked) - 1) + [True]
    assert asked[-1].choices == []
    assert asked[-1].usage is not None
    assert asked[-1].usage.completion_tokens == 5


def test_models_are_listed_without_the_engines_file_paths(engine: Engine, metergate: Metergate) -> None:
    with client(metergate) as through:
        listed = {model.id: model for model in through.models.list()}
        retrieved = through.models.retrieve(engine.chat_model)
    assert {engine.chat_model, engine.embedding_model} <= set(listed)
    assert retrieved.id == engine.chat_model
    for model in (*listed.values(), retrieved):
        assert model.object == "model"
        assert isinstance(model.created, int)
        assert not {"root", "permission"} & set(model.model_extra or {})


def test_every_answer_has_a_request_id(engine: Engine, metergate: Metergate) -> None:
    """Apps log `_request_id` and quote it to support; a stream and a refusal have one too."""
    with client(metergate) as through:
        ask = {"model": engine.chat_model, "messages": HELLO, "max_tokens": 2}
        answer = through.chat.completions.create(**ask)
        with through.chat.completions.with_streaming_response.create(**ask, stream=True) as stream:
            streamed = stream.headers["x-request-id"]
        with pytest.raises(openai.NotFoundError) as refused:
            through.chat.completions.create(model="no-such-model", messages=HELLO)
    ids = [answer._request_id, streamed, refused.value.request_id]
    assert all(ids)
    assert len(set(ids)) == 3


@pytest.mark.parametrize("secret", ["nonsense", "sk-mg-" + "0" * 49, "sk-none"])
def test_a_wrong_key_raises_authentication_error(metergate: Metergate, engine: Engine, secret: str) -> None:
    with client(metergate, secret) as through, pytest.raises(openai.AuthenticationError) as refused:
        through.chat.completions.create(model=engine.chat_model, messages=HELLO)
    assert refused.value.status_code == 401
    assert refused.value.type == "invalid_request_error"


def test_an_unknown_model_raises_not_found(metergate: Metergate) -> None:
    with client(metergate) as through:
        for ask in (
            lambda: through.chat.completions.create(model="no-such-model", messages=HELLO),
            lambda: through.embeddings.create(model="no-such-model", input="hello"),
            lambda: through.models.retrieve("no-such-model"),
        ):
            with pytest.raises(openai.NotFoundError) as refused:
                ask()
            assert refused.value.code == "model_not_found"


@pytest.mark.parametrize(
    ("field", "value"),
    [("temperature", -1), ("max_tokens", 0), ("n", 0), ("top_p", 7), ("messages", "hello"), ("stop", 3)],
)
def test_a_bad_field_raises_bad_request(
    engine: Engine, metergate: Metergate, field: str, value: object
) -> None:
    """Some are refused here and some by the engine: an app sees one shape."""
    ask = {"model": engine.chat_model, "messages": HELLO, field: value}
    with client(metergate) as through, pytest.raises(openai.BadRequestError) as refused:
        through.chat.completions.create(**ask)  # type: ignore[call-overload]
    assert refused.value.type == "invalid_request_error"
    assert refused.value.code is None or isinstance(refused.value.code, str)
    assert set(refused.value.body) == {"message", "type", "param", "code"}  # type: ignore[call-overload]


@pytest.mark.parametrize("stream", [False, True])
def test_a_prompt_too_long_says_so_as_openai_does(engine: Engine, metergate: Metergate, stream: bool) -> None:
    """Agents shorten their history on this code, and on no other."""
    said = [{"role": "user", "content": "hello " * 20_000}]
    with client(metergate) as through, pytest.raises(openai.BadRequestError) as refused:
        through.chat.completions.create(model=engine.chat_model, messages=said, stream=stream)  # type: ignore[call-overload]
    assert refused.value.code == "context_length_exceeded"
    assert "maximum context length" in refused.value.message


def test_an_embedding_too_long_is_a_bad_request(engine: Engine, metergate: Metergate) -> None:
    with client(metergate) as through, pytest.raises(openai.BadRequestError) as refused:
        through.embeddings.create(model=engine.embedding_model, input="hello " * 20_000)
    assert refused.value.type == "invalid_request_error"
