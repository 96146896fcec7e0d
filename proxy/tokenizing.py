"""The exact prompt of a call, counted by the engine itself: POST /tokenize.

Owns how a call is put to that endpoint and how its answer is read. Off the hot path: asked only where a limit
is so near that a bound will not do. Rules: an answer is the very count that the call's usage would tell, or
there is none; what was said goes to the engine and nowhere else.
"""

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from hashlib import blake2b
from typing import Any, Final

import msgspec

from proxy.asking import Answer
from proxy.backends import Backends
from proxy.call import Call
from proxy.endpoints import CHAT
from proxy.parts import parts_without_text, prompts_of
from proxy.upstream import UpstreamFault

TIMEOUT_SECONDS: Final = 2.0
COUNTED_MAX: Final = 4_096
PROMPTS_MAX: Final = 32
"""More than so many texts are not asked for: each is a request of its own."""

_CHAT_FIELDS: Final = (
    "model",
    "messages",
    "tools",
    "add_generation_prompt",
    "continue_final_message",
    "add_special_tokens",
    "chat_template_kwargs",
)
_NOT_TOLD: Final = ("documents", "reasoning_effort")
"""What a template may write in the call and /tokenize does not take."""

_FAULTS: Final = (UpstreamFault, TimeoutError, ValueError, RecursionError)

_encode: Final = msgspec.json.Encoder().encode

Ask = Callable[[bytes], Awaitable[Answer]]
"""Puts a body to /tokenize."""


class PromptCounter:
    """Counts prompts by whichever engine has the model; what was counted lately is not asked again.

    A flood of refused calls is the same few calls again and again: they are known by a keyed hash.
    """

    def __init__(self, backends: Backends) -> None:
        self._backends = backends
        self._counted: dict[bytes, int] = {}
        self._hash_key = os.urandom(32)

    async def count(self, call: Call) -> int | None:
        """The prompt tokens of a call; None where no engine can tell them in time."""
        said = call.fields[call.endpoint.input_field], call.fields.get("tools"), call.model
        key = blake2b(_encode(said), key=self._hash_key, digest_size=16).digest()
        known = self._counted.get(key)
        backend = self._backends.pick(call.model)
        if known is not None or backend is None:
            return known
        count = await count_prompt(
            lambda body: self._backends.ask(backend, "/tokenize", body), call, TIMEOUT_SECONDS
        )
        if count is not None:
            while len(self._counted) >= COUNTED_MAX:
                del self._counted[next(iter(self._counted))]
            self._counted[key] = count
        return count


async def count_prompt(ask: Ask, call: Call, timeout_seconds: float) -> int | None:
    """The prompt tokens of a call, over all its prompts; None where the engine cannot tell them in time."""
    try:
        async with asyncio.timeout(timeout_seconds):
            if call.endpoint is CHAT:
                return await _count_chat(ask, call)
            return await _count_prompts(ask, call)
    except _FAULTS:
        return None


async def _count_chat(ask: Ask, call: Call) -> int | None:
    fields = call.fields
    if any(fields.get(name) for name in _NOT_TOLD):
        return None
    if any(parts_without_text(message.get("content")) for message in fields["messages"]):
        return None
    asked = {name: fields[name] for name in _CHAT_FIELDS if fields.get(name) is not None}
    return _cut_off(await _ask(ask, asked), fields)


async def _count_prompts(ask: Ask, call: Call) -> int | None:
    fields = call.fields
    prompts = prompts_of(fields[call.endpoint.input_field])
    if not isinstance(prompts[0], str):
        return sum(_cut_off(len(prompt), fields) for prompt in prompts)
    if len(prompts) > PROMPTS_MAX:
        return None
    same = {"model": call.model}
    if fields.get("add_special_tokens") is not None:
        same["add_special_tokens"] = fields["add_special_tokens"]
    counts = await asyncio.gather(*(_ask(ask, {**same, "prompt": prompt}) for prompt in prompts))
    return sum(_cut_off(count, fields) for count in counts)


async def _ask(ask: Ask, asked: dict[str, Any]) -> int:
    """One count. Raises ValueError where the answer tells none, UpstreamFault where there is none."""
    status, body = await ask(_encode(asked))
    if status != 200:
        raise ValueError("the engine does not tokenize this")
    told = json.loads(body)
    count = told.get("count") if isinstance(told, dict) else None
    if type(count) is not int or count < 0:
        raise ValueError("the engine's answer has no count")
    return count


def _cut_off(count: int, fields: dict[str, Any]) -> int:
    """What is left of a prompt that the client has the engine cut off."""
    most = fields.get("truncate_prompt_tokens")
    return min(count, most) if type(most) is int and most > 0 else count
