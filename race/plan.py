"""What the clients of a race do, by seed, and what they report.

Pure. A plan is handed to the load's process as JSON and a report comes back. A client's calls follow from the
seed and its number alone: how often it must ask until it is let in changes nothing about what it asks for.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Protocol

import msgspec

MODEL = "simulated"
PATH = "/v1/chat/completions"
_WORDS = ("the", "a", "of", "and", "in", "to", "is", "that", "it", "for")


class Traits(msgspec.Struct, frozen=True):
    """How a group's calls look. Pairs are inclusive ranges; shares are from 0 to 1."""

    streamed_share: float = 0.5
    leaving_share: float = 0.1  # leave a stream midway, or an unstreamed call while it runs
    unset_share: float = 0.2  # do not set max_tokens
    pair_share: float = 0.2  # ask for n=2
    jitter_share: float = 0.5  # add up to a half to a wait that they were told
    prompt_words: tuple[int, int] = (5, 120)
    max_tokens: tuple[int, int] = (8, 120)


class Group(msgspec.Struct, frozen=True):
    """Clients that share a key. `pause_s`: how long each rests after an answer, half to one and a half.

    `heeds`: whether a refused client waits as long as it was told; else it rests as after an answer.
    """

    name: str
    secret: str
    clients: int
    traits: Traits = Traits()
    pause_s: float = 0.0
    heeds: bool = True


class LoadPlan(msgspec.Struct, frozen=True):
    """One load. It ends after `seconds`; or earlier, once nobody was admitted for `quiet_s` and everybody has
    been refused for good since; or after so many refusals.
    """

    port: int
    seed: int
    groups: tuple[Group, ...]
    seconds: float
    quiet_s: float | None = None
    refusals_max: int | None = None
    final_pause_s: float = 1.0  # how long a client rests that was refused for good


class GroupReport(msgspec.Struct):
    """What a group got. `asked`: calls begun, however often each was refused; `admitted`: answered with 200,
    or left while they ran. Latencies are of whole unstreamed answers and of streams' first bytes.
    """

    name: str
    asked: int = 0
    admitted: int = 0
    attempts: int = 0
    refused: dict[str, int] = {}
    statuses: dict[str, int] = {}
    left: int = 0
    broken: int = 0  # began and was cut off
    unanswered: int = 0  # the connection closed before an answer began
    latency_p50_s: float = 0.0
    latency_p95_s: float = 0.0


class LoadReport(msgspec.Struct):
    """What all got. Times are microseconds since the epoch."""

    groups: list[GroupReport]
    began_us: int
    ended_us: int
    why: str  # "time", "refused", "enough" or "told"
    retries: int  # attempts after a wait that the client had been told, and had kept
    retries_admitted: int
    late_admissions: int  # calls admitted after a client had been refused for good
    last_admission_us: int
    refused_since: dict[str, int]  # refusals after the last admission, by code
    cpu_s: float

    def total(self, name: str) -> int:
        """A count over all groups."""
        return sum(int(getattr(group, name)) for group in self.groups)

    def refused(self, code: str) -> int:
        """Refusals of one error code."""
        return sum(group.refused.get(code, 0) for group in self.groups)

    @property
    def seconds(self) -> float:
        """How long the load lasted."""
        return (self.ended_us - self.began_us) / 1e6


class Dice(Protocol):
    """What a seeded generator of random numbers gives; it comes from outside."""

    def random(self) -> float:
        """From 0 up to 1."""

    def randint(self, a: int, b: int) -> int:
        """From a to b, both included."""


class Asked(msgspec.Struct, frozen=True):
    """One call to make. `leave_after`: events of a stream, or milliseconds of an unstreamed call; 0: stay."""

    request: bytes
    streamed: bool
    leave_after: int


def calls_of(group: Group, dice: Dice) -> Iterator[Asked]:
    """The calls of one client, without end."""
    traits = group.traits
    head = f"POST {PATH} HTTP/1.1\r\nhost: race\r\nauthorization: Bearer {group.secret}\r\n"
    while True:
        streamed = dice.random() < traits.streamed_share
        words = dice.randint(*traits.prompt_words)
        first = dice.randint(0, len(_WORDS) - 1)
        prompt = " ".join(_WORDS[(first + at) % len(_WORDS)] for at in range(words))
        body: dict[str, object] = {"model": MODEL, "messages": [{"role": "user", "content": prompt}]}
        if dice.random() >= traits.unset_share:
            body["max_tokens"] = dice.randint(*traits.max_tokens)
        if dice.random() < traits.pair_share:
            body["n"] = 2
        if streamed:
            body["stream"] = True
        leave_after = 0
        if dice.random() < traits.leaving_share:
            leave_after = dice.randint(1, 20) if streamed else dice.randint(10, 300)
        content = json.dumps(body).encode()
        yield Asked(f"{head}content-length: {len(content)}\r\n\r\n".encode() + content, streamed, leave_after)
