"""The simple way in: /generate takes a prompt and answers with its text and usage. pure.

Owns the answer's shape. The request goes to the engine as a completion.
"""

from typing import Any

import msgspec


def simple_answer(completion: bytes) -> bytes:
    """A /v1/completions answer as `{"id", "model", "text", "finish_reason", "usage"}`."""
    whole: dict[str, Any] = msgspec.json.decode(completion)
    choice = whole["choices"][0]
    usage = whole.get("usage") or {}
    counts = {name: usage.get(name) for name in ("prompt_tokens", "completion_tokens", "total_tokens")}
    return msgspec.json.encode(
        {
            "id": whole.get("id"),
            "model": whole.get("model"),
            "text": choice["text"],
            "finish_reason": choice.get("finish_reason"),
            "usage": counts,
        }
    )
