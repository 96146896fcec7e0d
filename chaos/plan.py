"""What the clients of the chaos do, by seed, and what each saw of its call.

Pure. A plan is handed to the load's process as JSON, and reports come back. A client's calls follow from the
seed and its number alone. Each call names itself in `user`, so that its row can be found in the ledger even
where the client never saw a request id.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from enum import StrEnum
from typing import Protocol

import msgspec

MODEL, SWIFT = "simulated", "swift"
"""The second one makes its tokens faster than a slow reader takes them."""

MODELS = (MODEL, SWIFT)
CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
_WORDS = ("the", "a", "of", "and", "in", "to", "is", "that", "it", "for")
_HEAD_BYTES = 400
"""About what an answer's head has: to leave in the middle of one."""

_BODY_BYTES_MAX = 20_000


class Leaving(StrEnum):
    """How a client goes away."""

    NEVER = "never"
    CLOSES = "closes"
    RESETS = "resets"  # a RST: nothing that is on its way is taken any more


class Group(msgspec.Struct, frozen=True):
    """Clients that share a key."""

    name: str
    secret: str
    clients: int


class LoadPlan(msgspec.Struct, frozen=True):
    """One load; it ends when it is told, or after `seconds_max`."""

    port: int
    seed: int
    groups: tuple[Group, ...]
    seconds_max: float


class Asked(msgspec.Struct, frozen=True):
    """One call to make. `choices`: over all its prompts. A client that leaves does so after exactly
    `leave_after_bytes` of the answer, head included; after `leave_after_ms` where that is 0. A slow one takes
    a few hundred bytes at a time."""

    name: str
    request: bytes
    chat: bool
    streamed: bool
    choices: int
    leaving: Leaving
    leave_after_bytes: int
    leave_after_ms: int
    slow: bool


class CallReport(msgspec.Struct):
    """What a client saw. `status` 0: nothing of an answer. `tokens`: the completion tokens that it was given,
    by its own count of events and the usage that it was told. `whole`: the answer came to its regular end.
    """

    name: str
    group: str
    chat: bool
    streamed: bool
    choices: int
    leaving: Leaving
    slow: bool
    status: int = 0
    code: str = ""
    request_id: str = ""
    tokens: int = 0
    received_bytes: int = 0
    whole: bool = False
    left: bool = False
    connected: bool = False


class Dice(Protocol):
    """What a seeded generator of random numbers gives; it comes from outside."""

    def random(self) -> float:
        """From 0 up to 1."""

    def randint(self, a: int, b: int) -> int:
        """From a to b, both included."""


def calls_of(seed: int, group: Group, number: int, dice: Dice) -> Iterator[Asked]:
    """The calls of one client, without end."""
    count = 0
    while True:
        count += 1
        name = f"{seed}-{group.name}-{number}-{count}"
        chat, streamed, slow = dice.random() < 0.65, dice.random() < 0.75, dice.random() < 0.1
        leaving = Leaving.NEVER
        if dice.random() < 0.35:
            leaving = Leaving.RESETS if dice.random() < 0.4 else Leaving.CLOSES
        body, choices = _body(dice, name, chat=chat, streamed=streamed, swift=slow and streamed)
        yield Asked(
            name,
            request_bytes(CHAT if chat else COMPLETIONS, group.secret, body),
            chat,
            streamed,
            choices,
            leaving,
            *(_when_to_leave(dice) if leaving is not Leaving.NEVER else (0, 0)),
            slow,
        )


def _when_to_leave(dice: Dice) -> tuple[int, int]:
    """(after so many bytes, or after so many ms)."""
    where = dice.random()
    if where < 0.2:
        return 0, dice.randint(0, 600)
    if where < 0.4:
        return dice.randint(1, _HEAD_BYTES), 0
    return dice.randint(_HEAD_BYTES, _BODY_BYTES_MAX), 0


def _body(dice: Dice, name: str, *, chat: bool, streamed: bool, swift: bool) -> tuple[dict[str, object], int]:
    """A request's body, and its choices over all prompts."""
    words = dice.randint(3, 60)
    first = dice.randint(0, len(_WORDS) - 1)
    prompt = " ".join(_WORDS[(first + at) % len(_WORDS)] for at in range(words))
    n = (1, 1, 1, 2, 3)[dice.randint(0, 4)]
    prompts = 2 if not chat and dice.random() < 0.2 else 1
    body: dict[str, object] = {
        "model": SWIFT if swift else MODEL,
        "user": name,
        "max_tokens": dice.randint(300, 1200) if swift else dice.randint(4, 110),
    }
    if n > 1:
        body["n"] = n
    if chat:
        body["messages"] = [{"role": "user", "content": prompt}]
    else:
        body["prompt"] = prompt if prompts == 1 else [prompt, prompt + " too"]
    if streamed:
        body["stream"] = True
        wish = dice.random()
        if wish < 0.6:
            body["stream_options"] = {"include_usage": True, "continuous_usage_stats": wish < 0.3}
    return body, n * prompts


def request_bytes(path: str, secret: str, body: dict[str, object]) -> bytes:
    """The whole request, on a connection of its own."""
    content = json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nhost: chaos\r\nauthorization: Bearer {secret}\r\n"
        f"content-length: {len(content)}\r\nconnection: close\r\n\r\n"
    )
    return head.encode() + content
