"""The events that end a stream in its engine's place, in the engine's own shape. pure.

Owns what a client is sent where we end its answer: a last chunk for each choice, the usage, [DONE]. Knows
nothing of why, nor of the count behind the usage. Source of the shapes: vLLM 0.32's last chunks of chat and
completions. `more` is what follows `choices` in a chunk: the usage, as the client wished it, and the
fingerprint.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from proxy.sse import parse, render

DONE: Final = b"data: [DONE]\n\n"

_HEAD: Final = ("id", "object", "created", "model")
_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_decode: Final = msgspec.json.Decoder().decode
_encode: Final = msgspec.json.Encoder().encode


def head_of(event: bytes) -> dict[str, Any] | None:
    """What every chunk of a stream begins with, taken from one of them; None where that is no chunk."""
    try:
        chunk = _decode(parse(event).data or b"null")
    except _UNREADABLE:
        return None
    if not isinstance(chunk, dict):
        return None
    return {name: chunk[name] for name in _HEAD if name in chunk}


def usage_object(prompt_tokens: int, completion_tokens: int) -> dict[str, int]:
    """A usage object, its members in the engine's order."""
    return {
        "prompt_tokens": prompt_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
        "completion_tokens": completion_tokens,
    }


def finish_chunk(head: Mapping[str, Any], index: int, more: Mapping[str, Any]) -> bytes:
    """The chunk that ends choice `index` with finish_reason `length` and says nothing else."""
    ended = {"logprobs": None, "finish_reason": "length", "stop_reason": None}
    choice: dict[str, Any] = {"index": index}
    if head.get("object") == "text_completion":
        choice |= {"text": "", **ended, "prompt_token_ids": None, "token_ids": None}
    else:
        choice |= {"delta": {}, **ended, "token_ids": None}
    return render(_encode({**head, "choices": [choice], **more}))


def usage_chunk(head: Mapping[str, Any], more: Mapping[str, Any]) -> bytes:
    """The chunk that tells the total: no choices."""
    return render(_encode({**head, "choices": [], **more}))
