"""A connection of the control plane: uvicorn's, with failures in our own shape and a bound on heads.

What is no HTTP, and what is too long to be read, never reaches the app: uvicorn answers it, in plain text,
and reads heads without an end. It knows nothing of what is asked.
"""

from http import HTTPStatus
from typing import Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from admin import errors

HEAD_BYTES_MAX: Final = 128 * 1024
"""Of a request line and its headers: a filter of a thousand ids takes some forty thousand bytes. The parser
itself reads no URL beyond 65,535.
"""


class PlaneConnection(HttpToolsProtocol):
    """One connection, however many requests come on it."""

    _is_in_head = True
    _head_bytes = 0

    def data_received(self, data: bytes) -> None:
        """Reads on."""
        self._head_bytes += len(data)
        super().data_received(data)
        if self._is_in_head and self._head_bytes > HEAD_BYTES_MAX and not self.transport.is_closing():
            self._refuse(431, "The headers of your request are too large.", "headers_too_large")

    def on_message_begin(self) -> None:
        """A head begins; what came before it in the same packet is counted once too often, no matter."""
        self._is_in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """A head is whole."""
        self._is_in_head, self._head_bytes = False, 0
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """A request is whole: the next bytes begin another head."""
        self._head_bytes = 0
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Answers what is no HTTP request, and closes."""
        self._refuse(400, msg, "invalid_request")

    def _refuse(self, status: int, message: str, code: str) -> None:
        response = errors.answer(status, message, code=code)
        response.headers["connection"] = "close"
        head = b"".join(b"%b: %b\r\n" % header for header in response.raw_headers)
        line = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n".encode()
        self.transport.write(b"%b%b\r\n%b" % (line, head, bytes(response.body)))
        self.transport.close()
