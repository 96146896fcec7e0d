"""Slow, plain readings of streams to compare the proxy's with; they share no code with it."""

import json
from pathlib import Path
from random import Random
from typing import Any

from proxy.sse import Event
from proxy.stream import UsageWish

VECTORS = Path(__file__).parents[2] / "vectors" / "vllm"


def vector(name: str) -> bytes:
    """A stream recorded from a real vLLM."""
    return (VECTORS / f"{name}.sse").read_bytes()


def pieces(stream: bytes, random: Any, most: int = 40) -> list[bytes]:
    """The stream cut at random places, with empty pieces among them; `random` None: in two."""
    if not isinstance(random, Random):
        return [stream[: len(stream) // 2], stream[len(stream) // 2 :]]
    cuts = sorted(random.randint(0, len(stream)) for _ in range(random.randint(0, most)))
    return [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]


def events_of(stream: bytes) -> list[Event]:
    """The events of a stream, line by line as the WHATWG standard reads them; so are comments."""
    lines, line, at = [], b"", 0
    while at < len(stream):
        byte = stream[at : at + 1]
        at += 1
        if byte not in (b"\r", b"\n"):
            line += byte
            continue
        if byte == b"\r" and stream[at : at + 1] == b"\n":
            at += 1
        lines.append(line)
        line = b""
    events: list[Event] = []
    name, data, seen = b"", None, False
    for one in lines:
        if not one:
            if seen:
                events.append(Event(name, data))
            name, data, seen = b"", None, False
            continue
        seen = True
        field, colon, value = one.partition(b":")
        if colon and value.startswith(b" "):
            value = value[1:]
        if field == b"data":
            data = value if data is None else data + b"\n" + value
        elif field == b"event":
            name = value
    return events


class Pairs(list[Any]):
    """A JSON object as its members in their order."""

    def get(self, name: str) -> Any:
        return next((value for key, value in self if key == name), None)

    def without(self, name: str) -> "Pairs":
        return Pairs((key, value) for key, value in self if key != name)

    def having(self, name: str, new: Any) -> "Pairs":
        return Pairs((key, new if key == name else value) for key, value in self)


def loads(text: bytes) -> Any:
    """JSON with the order of members kept; a list stays a list, a number keeps its type."""
    return json.loads(text, object_pairs_hook=Pairs)


def meaning(stream: bytes) -> list[Any]:
    """What the events of a relayed stream say: comments, [DONE], or members in order."""
    said: list[Any] = []
    for event in events_of(stream):
        if event.data is None:
            said.append("comment")
        elif event.data == b"[DONE]":
            said.append("[DONE]")
        else:
            said.append(loads(event.data))
    return said


def relayed(stream: bytes, wish: UsageWish) -> list[Any]:
    """What a client is told of an engine's stream that was asked for all usage."""
    told: list[Any] = []
    for chunk in meaning(stream):
        if not isinstance(chunk, Pairs):
            told.append(chunk)
        elif chunk.get("error") or chunk.get("object") == "error":
            break
        elif not isinstance(chunk.get("usage"), Pairs) or wish is UsageWish.RUNNING:
            told.append(chunk)
        elif not chunk.get("choices"):
            if wish is UsageWish.FINAL:
                told.append(chunk)
        elif wish is UsageWish.NONE:
            told.append(chunk.without("usage"))
        else:
            told.append(chunk.having("usage", None))
    return told


def metered(stream: bytes, *, n: int = 1) -> tuple[int, int, int, str]:
    """(prompt, cached, completion, source) of an engine's stream."""
    prompts: dict[int, int] = {}
    completions: dict[int, int] = {}
    for chunk in meaning(stream):
        if not isinstance(chunk, Pairs):
            continue
        if chunk.get("error") or chunk.get("object") == "error":
            break
        usage = chunk.get("usage")
        if not isinstance(usage, Pairs):
            continue
        if not chunk.get("choices"):
            details = usage.get("prompt_tokens_details")
            cached = details.get("cached_tokens") if isinstance(details, Pairs) else None
            return usage.get("prompt_tokens"), cached or 0, usage.get("completion_tokens"), "final"
        index = chunk.get("choices")[0].get("index")
        prompts[index // n] = usage.get("prompt_tokens")
        completions[index] = usage.get("completion_tokens")
    if not prompts:
        return 0, 0, 0, "unresolved"
    return sum(prompts.values()), 0, sum(completions.values()), "running"
