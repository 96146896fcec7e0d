"""What every request of the control plane gets: an id, a limit on its body, text that databases take.
Raw ASGI.
"""

import json
import re
from urllib.parse import parse_qsl

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from admin.errors import answer
from ledger.ids import new_request_id

BODY_BYTES_MAX = 1 << 20
"""The largest body any resource takes is a few kilobytes."""
_CLIENTS_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")


class Requests:
    """Adds x-request-id to every answer, and refuses bodies beyond the limit with 413."""

    def __init__(self, app: ASGIApp) -> None:
        """`app` is what follows."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one connection event; only HTTP is ours."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        request_id = headers.get(b"x-request-id", b"")
        if not _CLIENTS_ID.fullmatch(request_id):
            request_id = new_request_id().encode()

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-request-id", request_id)]
            await send(message)

        body = await _read_body(headers.get(b"content-length"), receive)
        if body is None:
            refusal = answer(413, f"The body is larger than {BODY_BYTES_MAX} bytes.", code="body_too_large")
            await refusal(scope, receive, send_with_id)
            return
        if not _is_text(scope, body):
            refusal = answer(
                400,
                "A NUL, or half of a surrogate pair, is no text.",
                param=_nul_in(scope["query_string"]),
                code="invalid_value",
            )
            await refusal(scope, receive, send_with_id)
            return
        unread = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive_body() -> Message:
            return unread.pop() if unread else await receive()

        await self._app(scope, receive_body, send_with_id)


def _is_text(scope: Scope, body: bytes) -> bool:
    """Whether path, query and body hold only text: PostgreSQL takes no NUL, and no database half a
    character.
    """
    if "\x00" in scope["path"] or b"%00" in scope["query_string"]:
        return False
    if b"\\u" not in body:
        return True  # only an escape gets either into JSON
    try:
        written = json.dumps(json.loads(body), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    except (ValueError, RecursionError):
        return True  # no JSON: who reads it says so
    return b"\\u0000" not in written.replace(b"\\\\", b"")


def _nul_in(query: bytes) -> str | None:
    """The parameter of a query that holds a NUL."""
    pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    return next((name.removesuffix("[]") for name, value in pairs if "\x00" in value), None)


async def _read_body(content_length: bytes | None, receive: Receive) -> bytes | None:
    """The whole body; None when it is too large. What a client left unsent counts as empty."""
    if content_length is not None and int(content_length or b"0") > BODY_BYTES_MAX:
        return None
    chunks: list[bytes] = []
    size_bytes = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return b""
        chunks.append(message.get("body", b""))
        size_bytes += len(chunks[-1])
        if size_bytes > BODY_BYTES_MAX:
            return None
        if not message.get("more_body"):
            return b"".join(chunks)
