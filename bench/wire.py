"""Pure: the bytes of the benchmark, both ways: what the load sends, and what the engine answers in vLLM's
shape.

Rules: everything is rendered once, before load starts. A request says what it wants in its prompt
(`bench:burst:100:`), which any proxy passes on unchanged, so that the engine need not decode a body. Usage is
in every chunk, asked for or not: metergate asks the engine for it and takes it out again, a pass-through does
not ask; so every subject has the same bytes to read, and one that strips has fewer to write (the
run says how many). Must not know who relays.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

MODEL = "bench"
CHAT_PATH = "/v1/chat/completions"
PROMPT_TOKENS = 96
UNARY_TOKENS = 24

_WANTED = re.compile(rb"bench:(unary|burst|paced):(\d+):")
_ID = "chatcmpl-9d2eaa84e48f9b2c"
_CREATED = 1795366792
_FINGERPRINT = "vllm-0.32.0-e0f42182"
_SYSTEM_PROMPT = (
    "You are the assistant of a library. Answer in short sentences, name the shelf where you know it, and "
    "say so when you do not know. Never invent a title."
)
_WORDS = ("the", " shelf", " by", " the", " north", " window", ",", " second", " row", " from", " below", ".")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What one call asks the engine for: `kind` is unary, burst or paced; `chunks` counts events before the
    usage event.
    """

    kind: str
    chunks: int


def wanted(body: bytes) -> Wanted | None:
    """Reads the marker out of a request's body; None where there is none (someone else's call)."""
    found = _WANTED.search(body)
    return Wanted(found[1].decode(), int(found[2])) if found else None


def request_body(want: Wanted) -> bytes:
    """A chat request of everyday size; streams do not ask for usage, as most clients do not."""
    body: dict[str, object] = {
        "model": MODEL,
        "messages": [
            {"role": "system", "content": _SYSTEM_PROMPT},
            {
                "role": "user",
                "content": f"bench:{want.kind}:{want.chunks}: Where do I find a book on tides and harbours?",
            },
        ],
        "max_tokens": want.chunks,
        "temperature": 0.7,
    }
    if want.kind != "unary":
        body["stream"] = True
    return json.dumps(body, separators=(",", ":")).encode()


def request(want: Wanted, *, host: str, headers: Mapping[str, str]) -> bytes:
    """The whole HTTP request of `want`, keep-alive, ready to be written."""
    body = request_body(want)
    further = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    head = (
        f"POST {CHAT_PATH} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n{further}\r\n"
    )
    return head.encode() + body


def response(content: bytes, *, content_type: str = "application/json", status: str = "200 OK") -> bytes:
    """A whole HTTP response with the header fields that vLLM's uvicorn sends."""
    return (
        f"HTTP/1.1 {status}\r\ndate: Sun, 22 Nov 2026 16:59:52 GMT\r\nserver: uvicorn\r\n"
        f"content-length: {len(content)}\r\ncontent-type: {content_type}\r\n\r\n"
    ).encode() + content


def unary_response() -> bytes:
    """The answer to an unstreamed chat call."""
    message = {
        "role": "assistant",
        "content": "".join(_WORDS) * 2,
        "refusal": None,
        "annotations": None,
        "audio": None,
        "function_call": None,
        "reasoning": None,
    }
    choice = {
        "index": 0,
        "message": message,
        "logprobs": None,
        "finish_reason": "stop",
        "stop_reason": None,
        "token_ids": None,
    }
    answer = {
        "id": _ID,
        "object": "chat.completion",
        "created": _CREATED,
        "model": MODEL,
        "choices": [choice],
        "service_tier": None,
        "system_fingerprint": _FINGERPRINT,
        "usage": _usage(UNARY_TOKENS) | {"prompt_tokens_details": None},
        "prompt_logprobs": None,
        "prompt_token_ids": None,
        "kv_transfer_params": None,
    }
    return response(_compact(answer))


def stream_head() -> bytes:
    """The head of a streamed answer; `framed` events follow."""
    return (
        b"HTTP/1.1 200 OK\r\ndate: Sun, 22 Nov 2026 16:59:52 GMT\r\nserver: uvicorn\r\n"
        b"content-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
    )


def stream_chunks(count: int) -> list[bytes]:
    """`count` framed events with running usage (role first, finish last), one HTTP chunk each; then the usage
    event, `[DONE]` and end.

    The last entry holds that whole tail: a real engine sends it at once with the finish.
    """
    events = [_event(_delta(index, count), usage=_usage(index)) for index in range(count)]
    return [*events, _tail(count)]


def stream_end(index: int) -> bytes:
    """How a stream ends that is told to finish with its event number `index` (from 0): the finish, and the
    tail after it. `index` tokens are in its usage.
    """
    return _event(_delta(index, index + 1), usage=_usage(index)) + _tail(index + 1)


def frame(payload: bytes) -> bytes:
    """One HTTP/1.1 chunk."""
    return b"%x\r\n%b\r\n" % (len(payload), payload)


def events_of(chunks: int, *, usage_event: bool) -> int:
    """How many events a client must count in a stream of `chunks`, `[DONE]` included, with or without the
    usage-only event.
    """
    return chunks + (2 if usage_event else 1)


def _tail(count: int) -> bytes:
    return _event(None, usage=_usage(count - 1)) + frame(b"data: [DONE]\n\n") + b"0\r\n\r\n"


def _delta(index: int, count: int) -> dict[str, object]:
    delta = {"content": _WORDS[index % len(_WORDS)]} if index else {"role": "assistant", "content": ""}
    choice: dict[str, object] = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}
    if index == count - 1:
        choice |= {"finish_reason": "length", "stop_reason": None}
    return choice | {"token_ids": None}


def _event(choice: dict[str, object] | None, *, usage: dict[str, object]) -> bytes:
    chunk = {
        "id": _ID,
        "object": "chat.completion.chunk",
        "created": _CREATED,
        "model": MODEL,
        "choices": [choice] if choice else [],
        "usage": usage,
    }
    if choice is None:
        chunk["system_fingerprint"] = _FINGERPRINT
    elif usage["completion_tokens"] == 0:
        chunk |= {"prompt_token_ids": None, "prompt_text": None}
    return frame(b"data: " + _compact(chunk) + b"\n\n")


def _usage(completion_tokens: int) -> dict[str, object]:
    return {
        "prompt_tokens": PROMPT_TOKENS,
        "total_tokens": PROMPT_TOKENS + completion_tokens,
        "completion_tokens": completion_tokens,
        "completion_tokens_details": None,
    }


def _compact(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
