"""Streams as an engine could send them, made by hypothesis: every form that the proxy must read alike."""

import json
from typing import Any

from hypothesis import strategies as st

NASTY = (
    '],"usage":{"prompt_tokens":1,"total_tokens":2,"completion_tokens":99}}',
    '"usage":',
    '],"usage":{',
    '\\"usage\\":{"prompt_tokens":9}',
    '"choices":[{"index":7,',
    '"choices":[],"usage":{"prompt_tokens":1}',
    '{"error":{"message":"no"}}',
    "data: [DONE]\n\n",
    "[DONE]",
    "\n\n",
    "\r\n\r\n",
    '"finish_reason":"stop"',
    "\u2028\u2029\x85",
    "\\",
    "\\u0000",
    "\x00",
    "🜁é漢",
    "",
)
TEXTS = st.one_of(st.sampled_from(NASTY), st.text(st.characters(codec="utf-8"), max_size=12))
DETAILS = st.sampled_from([None, {"reasoning_tokens": 3}, {}, {"a": {"b": 1}}])


@st.composite
def usages(draw: st.DrawFn, prompt: int, completion: int, *, last: bool) -> dict[str, Any]:
    """A usage object; its members in any order, with or without details."""
    usage: dict[str, Any] = {
        "prompt_tokens": prompt,
        "total_tokens": prompt + completion,
        "completion_tokens": completion,
    }
    if draw(st.booleans()):
        usage["completion_tokens_details"] = draw(DETAILS)
    if last and draw(st.booleans()):
        usage["prompt_tokens_details"] = {"cached_tokens": draw(st.one_of(st.none(), st.integers(0, prompt)))}
    if draw(st.integers(0, 5)) == 0:
        usage = dict(draw(st.permutations(list(usage.items()))))
    return usage


@st.composite
def choices(draw: st.DrawFn, index: int, *, chat: bool) -> dict[str, Any]:
    """One choice of a chunk."""
    choice: dict[str, Any] = {"index": index}
    if chat:
        member = draw(st.sampled_from(["content", "reasoning", "tool_calls"]))
        text: Any = draw(TEXTS)
        if member == "tool_calls":
            text = [{"index": 0, "function": {"name": "f", "arguments": text}}]
        choice["delta"] = {member: text} if draw(st.booleans()) else {}
    else:
        choice["text"] = draw(TEXTS)
    token = {"token": draw(TEXTS), "logprob": draw(st.floats(-30, 0)), "bytes": [1], "top_logprobs": []}
    choice["logprobs"] = draw(st.sampled_from([None, {"content": [token]}, {"content": []}]))
    choice["finish_reason"] = draw(st.sampled_from([None, None, None, "stop", "length"]))
    choice["token_ids"] = draw(st.sampled_from([None, [1, 2]]))
    return choice


@st.composite
def streams(draw: st.DrawFn, *, n: int = 1, chat: bool = True) -> bytes:
    """A stream of an engine that was asked for all usage; it may break off, err, or say odd things."""
    events: list[str] = []

    def say(chunk: Any) -> None:
        compact = draw(st.integers(0, 9)) > 0
        separators = (",", ":") if compact else (", ", ": ")
        text = json.dumps(chunk, ensure_ascii=draw(st.booleans()), separators=separators)
        # A raw line end ends a line: JSON escapes these, and these only.
        events.append(f"data: {text}\n\n")

    made = dict.fromkeys(range(n), 0)
    for _ in range(draw(st.integers(0, 8))):
        index = draw(st.integers(0, n - 1))
        made[index] += draw(st.integers(0, 3))
        head = {"id": draw(TEXTS), "object": "chat.completion.chunk", "created": 1, "model": draw(TEXTS)}
        chunk: dict[str, Any] = {**head, "choices": [draw(choices(index, chat=chat))]}
        usage = draw(usages(7 + index * (not chat), made[index], last=False))
        kind = draw(st.integers(0, 9))
        if kind > 1:
            chunk["usage"] = usage
            if kind == 9:  # what a later engine might add
                chunk["extra"] = {"list": [1], "usage": draw(usages(1, 99, last=False))}
        elif kind == 1:
            chunk = {"usage": usage, **chunk}
        if draw(st.booleans()):
            chunk["prompt_token_ids"] = None
        say(chunk)
        if draw(st.integers(0, 5)) == 0:
            events.append(": keep-alive\n\n")
    end = draw(st.sampled_from(["whole", "whole", "no usage", "no done", "error", "old error", "torn"]))
    if end in ("error", "old error"):
        error = {"message": draw(TEXTS), "type": "InternalServerError", "param": None, "code": 500}
        say({"error": error} if end == "error" else {"object": "error", **error})
    elif end != "no usage":
        last = draw(usages(7 * n, sum(made.values()), last=True))
        say({"id": "x", "choices": [], "usage": last, "system_fingerprint": "vllm-1"})
    if end != "no done":
        events.append("data: [DONE]\n\n")
    whole = "".join(events).encode()
    return whole[: draw(st.integers(0, len(whole)))] if end == "torn" else whole
