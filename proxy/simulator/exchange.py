"""One HTTP request and its answer over ASGI, as the engine's web framework would handle them.

Owns reading (the body, leniently decoded JSON), answering, and noticing that the client left.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from proxy.simulator.errors import InvalidField
from proxy.simulator.fields import Body, shown
from proxy.simulator.wire import transport_of

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

# A client that has left is waited for so long to be seen off by the server.
_FAREWELL_S = 5.0


class ClientLeft(Exception):
    """The client closed, or half-closed, its connection."""


class UndecodableBody(Exception):
    """A body that is no text: the web framework, not the engine, refuses it."""


class Exchange:
    """A request, and how to answer it."""

    __slots__ = (
        "_left",
        "_receive",
        "_reply_headers",
        "_send",
        "_watcher",
        "method",
        "path",
        "scope",
        "transport",
    )

    def __init__(self, scope: Scope, receive: Receive, send: Send, reply_headers: Headers) -> None:
        self.scope = scope
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.transport = transport_of(send)
        self._receive = receive
        self._send = send
        self._reply_headers = reply_headers
        self._left: asyncio.Future[None] | None = None
        self._watcher: asyncio.Task[None] | None = None

    def header(self, name: bytes) -> str | None:
        for key, value in self.scope["headers"]:
            if key == name:
                return str(value, "latin-1")
        return None

    async def read(self) -> bytes:
        """The whole body. Raises ClientLeft if there will not be one."""
        parts = []
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientLeft
            parts.append(message.get("body", b""))
            if not message.get("more_body"):
                return b"".join(parts)

    async def read_json(self) -> Body:
        """The decoded JSON object; a BOM and UTF-16 are taken, of duplicate keys the last counts."""
        media = (self.header(b"content-type") or "").split(";")[0].strip().lower()
        raw = await self.read()
        if media != "application/json":
            raise InvalidField(
                "1 validation error:\n  Unsupported Media Type: Only 'application/json' is allowed"
            )
        if not raw:
            raise InvalidField.validation(
                {"type": "missing", "loc": "body", "msg": "Field required", "input": "None"}
            )
        try:
            body = json.loads(raw)
        except json.JSONDecodeError as error:
            raise _no_json(error) from None
        except UnicodeDecodeError:
            raise UndecodableBody from None
        if not isinstance(body, dict):
            message = "Input should be a valid dictionary or object to extract fields from"
            raise InvalidField.validation(
                {"type": "model_attributes_type", "loc": "body", "msg": message, "input": shown(body)}
            )
        return body

    def when_left(self, then: Callable[[], object]) -> None:
        """Calls back once the client has left. To be used after the body was read."""
        if self._left is None:
            self._left = asyncio.get_running_loop().create_future()
            self._watcher = asyncio.create_task(self._watch(self._left))
        self._left.add_done_callback(lambda _: then())

    async def _watch(self, left: asyncio.Future[None]) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        if not left.done():
            left.set_result(None)

    def close(self) -> None:
        """Stops watching."""
        if self._watcher is not None:
            self._watcher.cancel()

    async def see_off(self) -> None:
        """Waits until the server too sees the connection closed; a client that never reads is cut off."""
        try:
            async with asyncio.timeout(_FAREWELL_S):
                gone = asyncio.Event()
                self.when_left(gone.set)
                await gone.wait()
        except TimeoutError:
            self.transport.abort()

    async def start(
        self, status: int, content_type: bytes | None, length: int | None, extra: Headers | None = None
    ) -> None:
        """Sends status and headers; no length means chunks."""
        headers: Headers = list(extra or ())
        if length is not None:
            headers.append((b"content-length", b"%d" % length))
        if content_type is not None:
            headers.append((b"content-type", content_type))
        headers += self._reply_headers
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def end(self, body: bytes = b"") -> None:
        """Sends the body, or a stream's end."""
        await self._send({"type": "http.response.body", "body": body})

    async def answer(
        self,
        status: int,
        body: bytes,
        content_type: bytes | None = b"application/json",
        extra: Headers | None = None,
    ) -> None:
        await self.start(status, content_type, len(body), extra)
        await self.end(body)

    async def break_off(self, body: bytes, at_byte: int) -> None:
        """Begins an answer and closes the connection in the middle of it."""
        await self.start(200, b"application/json", len(body))
        part = body[: min(at_byte, len(body) - 1)]
        await self._send({"type": "http.response.body", "body": part, "more_body": True})
        self.transport.close()

    def without_vary(self) -> None:
        """The key check answers before the framework's CORS layer."""
        self._reply_headers = [header for header in self._reply_headers if header[0] != b"vary"]

    async def only(self, method: str) -> bool:
        """Whether the request has the path's method; else it is answered 405."""
        if self.method == method or (self.method == "HEAD" and method == "GET"):
            return True
        await self.answer(405, b'{"detail":"Method Not Allowed"}', extra=[(b"allow", method.encode())])
        return False


def _no_json(error: json.JSONDecodeError) -> InvalidField:
    return InvalidField.validation(
        {
            "type": "json_invalid",
            "loc": f"body.{error.pos}",
            "msg": "JSON decode error",
            "input": "<dict of 0 items>",
            "ctx": {"error": error.msg},
        }
    )
