"""The headers of requests and answers. Pure.

Owns which headers we read from a client and which we send. Nothing of a client's headers goes to the engine.
"""

from collections.abc import Iterable
from typing import Final

JSON: Final = b"application/json"
EVENT_STREAM: Final = b"text/event-stream; charset=utf-8"

_VERSION: Final = (b"openai-version", b"2020-10-01")

Headers = list[tuple[bytes, bytes]]


def secret_in(headers: Iterable[tuple[bytes, bytes]]) -> bytes | None:
    """The API key that came with a request: `Authorization: Bearer`, else `api-key` (Azure's), else
    `x-api-key`."""
    other = None
    for name, value in headers:
        if name == b"authorization":
            scheme, _, secret = value.partition(b" ")
            if scheme.lower() == b"bearer" and secret.strip():
                return secret.strip()
        elif name in (b"api-key", b"x-api-key") and value.strip():
            other = other or value.strip()
    return other


def content_length(headers: Iterable[tuple[bytes, bytes]]) -> int | None:
    """The announced length of the body; None where none is."""
    for name, value in headers:
        if name == b"content-length":
            return int(value) if value.isdigit() else None
    return None


def size(headers: Iterable[tuple[bytes, bytes]]) -> int:
    """The bytes of the headers as they came, nearly."""
    total = 0
    for (
        name,
        value,
    ) in headers:  # a third of the time of sum() over a generator, and it runs for every request
        total += len(name) + len(value) + 4
    return total


def answer(
    request_id: str, organization: str | None, elapsed_ms: int, content_type: bytes, length: int | None
) -> Headers:
    """The headers of an answer; `length` None for a stream."""
    headers: Headers = [
        (b"content-type", content_type),
        (b"x-request-id", request_id.encode()),
        (b"openai-processing-ms", b"%d" % elapsed_ms),
        _VERSION,
    ]
    if organization:
        headers.append((b"openai-organization", organization.encode()))
    if length is not None:
        headers.append((b"content-length", b"%d" % length))
    else:
        headers.append((b"cache-control", b"no-cache"))
        headers.append((b"x-accel-buffering", b"no"))
    return headers
