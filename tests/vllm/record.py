"""Record what a real vLLM answers, as small test vectors.

    python -m tests.vllm.record [NAME ...]      # all of them, or those named

Writes tests/vectors/vllm/NAME.json or NAME.sse, the body of each answer as it came, and index.json, which
says for each what was asked (`path`, `request`), and what came with it (`status`, `content_type`, `file`).

What changes from run to run is made the same, so that a new recording differs only where vLLM does: ids
(the request's id is the vector's name), times, and the model's folder.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.vllm.serve import KINDS, servers

FOLDER = Path(__file__).parents[1] / "vectors" / "vllm"
BODY_BYTES_MAX = 8 * 1024

CREATED = 1_790_000_000
SAID = [{"role": "user", "content": "hello there"}]
CONTINUOUS = {"stream": True, "stream_options": {"include_usage": True, "continuous_usage_stats": True}}
SCHEMA = {
    "type": "object",
    "properties": {"sunny": {"type": "boolean"}},
    "required": ["sunny"],
    "additionalProperties": False,
}
TOOLS = {
    "tools": [{"type": "function", "function": {"name": "sky", "strict": True, "parameters": SCHEMA}}],
    "tool_choice": {"type": "function", "function": {"name": "sky"}},
}


@dataclass(frozen=True, slots=True)
class Vector:
    """One question to one kind of server; a `request` of bytes is sent as it is, None is a GET."""

    path: str
    request: dict[str, Any] | bytes | None
    kind: str = "chat"


def chat(kind: str = "chat", **fields: Any) -> Vector:
    asked = {"model": KINDS[kind].model, "messages": SAID, "max_tokens": 6, "temperature": 0} | fields
    return Vector("/v1/chat/completions", asked, kind)


def completion(**fields: Any) -> Vector:
    asked = {"model": "tiny", "prompt": "hello there", "max_tokens": 6, "temperature": 0} | fields
    return Vector("/v1/completions", asked)


def embedding(**fields: Any) -> Vector:
    return Vector("/v1/embeddings", {"model": "tiny-embed", "input": "hello there"} | fields, "embed")


VECTORS = {
    "models": Vector("/v1/models", None),
    "chat": chat(),
    "chat_n2": chat(n=2, temperature=1, seed=7),
    "chat_logprobs": chat(max_tokens=2, logprobs=True, top_logprobs=1),
    "chat_tools": chat(max_tokens=100, **TOOLS),
    "chat_json_schema": chat(
        max_tokens=100,
        response_format={
            "type": "json_schema",
            "json_schema": {"name": "sky", "schema": SCHEMA, "strict": True},
        },
    ),
    "chat_stream": chat(stream=True),
    "chat_stream_usage": chat(stream=True, stream_options={"include_usage": True}),
    "chat_stream_continuous": chat(**CONTINUOUS),
    "chat_stream_continuous_without_include": chat(
        stream=True, stream_options={"continuous_usage_stats": True}
    ),
    "chat_stream_n2_continuous": chat(n=2, temperature=1, seed=7, **CONTINUOUS),
    "chat_stream_logprobs": chat(max_tokens=2, logprobs=True, **CONTINUOUS),
    "chat_stream_stop": chat(max_tokens=40, stop=["a"], **CONTINUOUS),
    "chat_stream_tools_continuous": chat(max_tokens=100, **TOOLS, **CONTINUOUS),
    "chat_stream_tools_token_ids": chat(max_tokens=20, return_token_ids=True, **TOOLS, **CONTINUOUS),
    "think": chat("think"),
    "think_stream_continuous": chat("think", **CONTINUOUS),
    "think_stream_hidden_continuous": chat("think", include_reasoning=False, **CONTINUOUS),
    "think_stream_hidden_token_ids": chat(
        "think", include_reasoning=False, return_token_ids=True, **CONTINUOUS
    ),
    "completions": completion(),
    "completions_list": completion(prompt=["hello", "what is the weather"], n=2, temperature=1, seed=7),
    "completions_echo_logprobs": completion(echo=True, logprobs=1, max_tokens=2),
    "completions_stream_usage": completion(stream=True, stream_options={"include_usage": True}),
    "completions_stream_continuous": completion(**CONTINUOUS),
    "completions_stream_list_continuous": completion(prompt=["hello", "what is the weather"], **CONTINUOUS),
    "responses": Vector(
        "/v1/responses", {"model": "tiny", "input": "hello", "max_output_tokens": 4, "temperature": 0}
    ),
    "messages_stream": Vector(
        "/v1/messages", {"model": "tiny", "messages": SAID, "max_tokens": 4, "temperature": 0, "stream": True}
    ),
    "embeddings": embedding(),
    "embeddings_list_base64": embedding(input=["hello there", "what"], encoding_format="base64"),
    "embeddings_token_ids": embedding(input=[[300, 301, 302], [300]], encoding_format="base64"),
    "error_unknown_model": chat(model="nobody"),
    "error_too_long": chat(messages=[{"role": "user", "content": "hello " * 1500}]),
    "error_too_long_stream": chat(messages=[{"role": "user", "content": "hello " * 1500}], stream=True),
    # So long that vLLM does not tokenize it: other words, another `param`.
    "error_far_too_long": chat(messages=[{"role": "user", "content": "hello " * 20_000}]),
    "error_max_tokens_too_large": chat(max_tokens=100_000),
    "error_bad_field": chat(temperature=-1),
    "error_wrong_type": chat(messages="hello"),
    "error_stream_options_without_stream": chat(stream_options={"include_usage": True}),
    "error_not_json": Vector("/v1/chat/completions", b'{"model": '),
    "error_no_such_path": Vector("/v1/nowhere", b"{}"),
    "error_embeddings_too_long": embedding(input="hello " * 1500),
}


def made_the_same(body: bytes, name: str) -> bytes:
    """`body` without what differs from one run to the next."""
    text = body.decode()
    text = re.sub(r'"(created|created_at)":\d+', rf'"\1":{CREATED}', text)
    text = re.sub(r'"root":"[^"]*"', '"root":"/models/tiny"', text)
    text = re.sub(r"chatcmpl-tool-[0-9a-f]+", "chatcmpl-tool-0000000000000001", text)
    text = re.sub(r"\b(modelperm|embd|resp|msg|rs|req)[-_][0-9a-f]{16,32}\b", rf"\1-{name}", text)
    return text.encode()


def ask(url: str, name: str, vector: Vector) -> tuple[int, str, bytes]:
    request = vector.request
    body = json.dumps(request).encode() if isinstance(request, dict) else request
    headers = {"Content-Type": "application/json", "X-Request-Id": name}
    asked = urllib.request.Request(url + vector.path, body, headers)
    try:
        with urllib.request.urlopen(asked, timeout=60) as response:
            return response.status, response.headers["content-type"], response.read()
    except urllib.error.HTTPError as refused:
        return refused.code, refused.headers["content-type"], refused.read()


def entry(name: str, vector: Vector, status: int, content_type: str) -> dict[str, Any]:
    request = vector.request.decode() if isinstance(vector.request, bytes) else vector.request
    if len(json.dumps(request)) > BODY_BYTES_MAX // 4:
        request = "(too long to keep)"
    ending = "sse" if content_type.startswith("text/event-stream") else "json"
    return {
        "server": vector.kind,
        "path": vector.path,
        "request": request,
        "status": status,
        "content_type": content_type,
        "file": f"{name}.{ending}",
    }


def record(names: list[str], urls: dict[str, str]) -> None:
    index_file = FOLDER / "index.json"
    index = json.loads(index_file.read_text()) if index_file.exists() else {}
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in names:
        vector = VECTORS[name]
        status, content_type, body = ask(urls[vector.kind], name, vector)
        body = made_the_same(body, name)
        index[name] = entry(name, vector, status, content_type)
        (FOLDER / index[name]["file"]).write_bytes(body)
        large = "  LARGE" if len(body) > BODY_BYTES_MAX else ""
        print(f"{name}: {status} {len(body)} bytes{large}")
    index_file.write_text(
        json.dumps({name: index[name] for name in VECTORS if name in index}, indent=1) + "\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", help="vectors to record; all, if none is named")
    parser.add_argument("--url", action="append", default=[], metavar="KIND=URL", help="one that runs")
    arguments = parser.parse_args()
    names = arguments.names or list(VECTORS)
    urls = dict(given.split("=", 1) for given in arguments.url)
    lacking = sorted({VECTORS[name].kind for name in names} - urls.keys())
    with tempfile.TemporaryDirectory() as logs, servers(lacking, Path(logs)) as running:
        record(names, urls | {kind: server.url for kind, server in zip(lacking, running, strict=True)})


if __name__ == "__main__":
    main()
