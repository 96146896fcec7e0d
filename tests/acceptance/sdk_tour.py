"""A tour of the official `openai` client, for any major version of it: each stop asks one thing.

    ENVIRONMENT/bin/python tests/acceptance/sdk_tour.py BASE_URL API_KEY MODEL EMBEDDING_MODEL

prints `{"version": ..., "stops": {name: answer}}`. The tour is made twice, at the engine and through
metergate, and has to bring home the same. Imports nothing but `openai`, pydantic (which openai needs) and the
standard library.

An answer holds what an app sees: texts, chunks, finish reasons, usage, the fields that were there. Left out
is what differs from call to call: ids, times, and `system_fingerprint`. Prompts stay under 128 tokens, vLLM's
block on a CPU: a second asking of a longer one would read the prefix cache, and say so in its usage.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import openai
from pydantic import BaseModel, ConfigDict

GREEDY: dict[str, Any] = {"temperature": 0, "seed": 11}
SEEDED: dict[str, Any] = {"temperature": 1, "seed": 11}
USAGE: dict[str, Any] = {"stream_options": {"include_usage": True}}
HELLO: list[Any] = [
    {"role": "system", "content": "you are a helpful assistant"},
    {"role": "user", "content": "hello, what is the weather?"},
]
CITIES = {
    "type": "object",
    "properties": {"city": {"type": "string", "enum": ["Oslo", "Lima"]}},
    "required": ["city"],
    "additionalProperties": False,
}
TOOL: Any = {"type": "function", "function": {"name": "weather", "strict": True, "parameters": CITIES}}
CALL_IT: Any = {"type": "function", "function": {"name": "weather"}}


class Weather(BaseModel):
    """What a structured answer is parsed into."""

    model_config = ConfigDict(extra="forbid")

    city: Literal["Oslo", "Lima"]
    sunny: bool


@dataclass(frozen=True, slots=True)
class Models:
    """The names the engine serves."""

    chat: str
    embedding: str


Stop = Callable[[openai.OpenAI, Models], Any]
STOPS: dict[str, Stop] = {}


def stop(visit: Stop) -> Stop:
    STOPS[visit.__name__] = visit
    return visit


def plain(answer: Any) -> dict[str, Any]:
    """An answer of the SDK as JSON, without what differs from call to call."""
    fields: dict[str, Any] = answer.model_dump(mode="json", exclude_none=True, warnings=False)
    for name in ("id", "created", "system_fingerprint"):
        fields.pop(name, None)
    for choice in fields.get("choices", ()):
        for call in choice.get("message", {}).get("tool_calls") or ():
            call["id"] = "(random)"
    return fields


def gathered(chunks: Iterable[Any]) -> dict[str, Any]:
    """A stream by choice, for chunks of several choices come in any order.

    `pieces` has the text of each chunk that brought some: an empty chunk shows nothing to an app. `usages`
    are of the chunks that have one.
    """
    choices: dict[int, dict[str, Any]] = {}
    usages, last = [], None
    for chunk in chunks:
        last = chunk
        if chunk.usage is not None:
            usages.append(chunk.usage.model_dump(mode="json", exclude_none=True))
        for choice in chunk.choices:
            seen = choices.setdefault(
                choice.index, {"roles": [], "pieces": [], "calls": [], "logprobs": 0, "finish": []}
            )
            add(choice, seen)
    return {
        "choices": choices,
        "usages": usages,
        "choices_in_last_chunk": len(last.choices) if last else None,
    }


def add(choice: Any, seen: dict[str, Any]) -> None:
    delta = getattr(choice, "delta", None)  # absent in a completion, which has `text`
    text = choice.text if delta is None else delta.content
    if text:
        seen["pieces"].append(text)
    if delta is not None and delta.role:
        seen["roles"].append(delta.role)
    for call in (delta.tool_calls if delta is not None else None) or ():
        if call.function.name:
            seen["calls"].append([call.index, call.type, call.function.name, ""])
        seen["calls"][-1][3] += call.function.arguments or ""
    if choice.logprobs is not None:
        seen["logprobs"] += (
            len(choice.logprobs.content or ()) if delta is not None else len(choice.logprobs.tokens)
        )
    if choice.finish_reason:
        seen["finish"].append(choice.finish_reason)


@stop
def chat(client: openai.OpenAI, models: Models) -> Any:
    return plain(client.chat.completions.create(model=models.chat, messages=HELLO, max_tokens=12, **GREEDY))


@stop
def chat_three_choices(client: openai.OpenAI, models: Models) -> Any:
    return plain(
        client.chat.completions.create(model=models.chat, messages=HELLO, max_tokens=8, n=3, **SEEDED)
    )


@stop
def chat_parts(client: openai.OpenAI, models: Models) -> Any:
    """Content as a list of parts, and the newer name of max_tokens."""
    said: Any = [
        {"role": "user", "content": [{"type": "text", "text": "hello"}, {"type": "text", "text": " you"}]}
    ]
    return plain(
        client.chat.completions.create(model=models.chat, messages=said, max_completion_tokens=8, **GREEDY)
    )


@stop
def chat_stop(client: openai.OpenAI, models: Models) -> Any:
    return plain(
        client.chat.completions.create(model=models.chat, messages=HELLO, max_tokens=40, stop=["a"], **GREEDY)
    )


@stop
def chat_logprobs(client: openai.OpenAI, models: Models) -> Any:
    return plain(
        client.chat.completions.create(
            model=models.chat, messages=HELLO, max_tokens=4, logprobs=True, top_logprobs=2, **GREEDY
        )
    )


@stop
def chat_tools(client: openai.OpenAI, models: Models) -> Any:
    return plain(
        client.chat.completions.create(
            model=models.chat, messages=HELLO, tools=[TOOL], tool_choice=CALL_IT, max_tokens=200, **GREEDY
        )
    )


@stop
def chat_tool_result(client: openai.OpenAI, models: Models) -> Any:
    """A conversation in which a tool has answered."""
    call = {
        "id": "call_1",
        "type": "function",
        "function": {"name": "weather", "arguments": '{"city": "Oslo"}'},
    }
    said: Any = [
        *HELLO,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "it is fine"},
    ]
    return plain(client.chat.completions.create(model=models.chat, messages=said, max_tokens=8, **GREEDY))


@stop
def chat_json_object(client: openai.OpenAI, models: Models) -> Any:
    return plain(
        client.chat.completions.create(
            model=models.chat,
            messages=HELLO,
            max_tokens=20,
            response_format={"type": "json_object"},
            **GREEDY,
        )
    )


@stop
def chat_parse(client: openai.OpenAI, models: Models) -> Any:
    """Structured output: the SDK makes a schema of the class, and an object of the answer."""
    answer = client.chat.completions.parse(
        model=models.chat, messages=HELLO, max_tokens=200, response_format=Weather, **GREEDY
    )
    assert answer.choices[0].message.parsed is not None
    return plain(answer)


@stop
def chat_stream(client: openai.OpenAI, models: Models) -> Any:
    return gathered(
        client.chat.completions.create(
            model=models.chat, messages=HELLO, max_tokens=24, stream=True, **GREEDY
        )
    )


@stop
def chat_stream_with_usage(client: openai.OpenAI, models: Models) -> Any:
    return gathered(
        client.chat.completions.create(
            model=models.chat, messages=HELLO, max_tokens=24, stream=True, **USAGE, **GREEDY
        )
    )


@stop
def chat_stream_usage_declined(client: openai.OpenAI, models: Models) -> Any:
    return gathered(
        client.chat.completions.create(
            model=models.chat,
            messages=HELLO,
            max_tokens=8,
            stream=True,
            stream_options={"include_usage": False},
            **GREEDY,
        )
    )


@stop
def chat_stream_two_choices(client: openai.OpenAI, models: Models) -> Any:
    return gathered(
        client.chat.completions.create(
            model=models.chat, messages=HELLO, max_tokens=12, n=2, stream=True, **USAGE, **SEEDED
        )
    )


@stop
def chat_stream_logprobs(client: openai.OpenAI, models: Models) -> Any:
    return gathered(
        client.chat.completions.create(
            model=models.chat, messages=HELLO, max_tokens=6, logprobs=True, stream=True, **GREEDY
        )
    )


@stop
def chat_stream_tools(client: openai.OpenAI, models: Models) -> Any:
    return gathered(
        client.chat.completions.create(
            model=models.chat,
            messages=HELLO,
            tools=[TOOL],
            tool_choice=CALL_IT,
            max_tokens=200,
            stream=True,
            **USAGE,
            **GREEDY,
        )
    )


@stop
def chat_stream_tools_left_to_the_model(client: openai.OpenAI, models: Models) -> Any:
    return gathered(
        client.chat.completions.create(
            model=models.chat, messages=HELLO, tools=[TOOL], max_tokens=16, stream=True, **GREEDY
        )
    )


@stop
def chat_stream_events(client: openai.OpenAI, models: Models) -> Any:
    """The SDK's own reading of a stream, which insists on more: it rebuilds the whole answer."""
    with client.chat.completions.stream(
        model=models.chat, messages=HELLO, max_tokens=200, response_format=Weather, **GREEDY
    ) as events:
        kinds = {event.type for event in events}
        final = events.get_final_completion()
    return {"kinds": sorted(kinds), "final": plain(final)}


@stop
def completion(client: openai.OpenAI, models: Models) -> Any:
    return plain(client.completions.create(model=models.chat, prompt="hello", max_tokens=8, **GREEDY))


@stop
def completion_default_length(client: openai.OpenAI, models: Models) -> Any:
    return plain(client.completions.create(model=models.chat, prompt="hello", **GREEDY))


@stop
def completion_list(client: openai.OpenAI, models: Models) -> Any:
    return plain(
        client.completions.create(
            model=models.chat, prompt=["hello", "what is the weather"], max_tokens=6, n=2, **SEEDED
        )
    )


@stop
def completion_token_ids(client: openai.OpenAI, models: Models) -> Any:
    return plain(
        client.completions.create(model=models.chat, prompt=[[300, 301, 302], [300]], max_tokens=4, **GREEDY)
    )


@stop
def completion_echo(client: openai.OpenAI, models: Models) -> Any:
    return plain(
        client.completions.create(model=models.chat, prompt="hello", max_tokens=4, echo=True, **GREEDY)
    )


@stop
def completion_logprobs(client: openai.OpenAI, models: Models) -> Any:
    return plain(
        client.completions.create(model=models.chat, prompt="hello", max_tokens=4, logprobs=2, **GREEDY)
    )


@stop
def completion_stream(client: openai.OpenAI, models: Models) -> Any:
    return gathered(
        client.completions.create(model=models.chat, prompt="hello", max_tokens=12, stream=True, **GREEDY)
    )


@stop
def completion_stream_list_with_usage(client: openai.OpenAI, models: Models) -> Any:
    return gathered(
        client.completions.create(
            model=models.chat, prompt=["hello", "what"], max_tokens=8, stream=True, **USAGE, **GREEDY
        )
    )


@stop
def embedding(client: openai.OpenAI, models: Models) -> Any:
    """The SDK asks for base64 by itself and makes floats of it."""
    return plain(client.embeddings.create(model=models.embedding, input="hello there"))


@stop
def embedding_floats(client: openai.OpenAI, models: Models) -> Any:
    return plain(
        client.embeddings.create(model=models.embedding, input=["hello", "there"], encoding_format="float")
    )


@stop
def embedding_base64(client: openai.OpenAI, models: Models) -> Any:
    return plain(
        client.embeddings.create(model=models.embedding, input=["hello", "there"], encoding_format="base64")
    )


@stop
def embedding_token_ids(client: openai.OpenAI, models: Models) -> Any:
    return plain(client.embeddings.create(model=models.embedding, input=[[300, 301], [302]]))


def tour(base_url: str, api_key: str, models: Models) -> dict[str, Any]:
    """Every stop's answer, or the name and text of what it raised."""
    answers = {}
    with openai.OpenAI(base_url=base_url, api_key=api_key, max_retries=0, timeout=60) as client:
        for name, visit in STOPS.items():
            try:
                answers[name] = visit(client, models)
            except Exception as fault:  # the two tours are compared: a fault is an answer too
                answers[name] = f"{type(fault).__name__}: {fault}"
    return answers


def main() -> None:
    base_url, api_key, chat_model, embedding_model = sys.argv[1:]
    answers = tour(base_url, api_key, Models(chat_model, embedding_model))
    json.dump({"version": openai.__version__, "stops": answers}, sys.stdout)


if __name__ == "__main__":
    main()
