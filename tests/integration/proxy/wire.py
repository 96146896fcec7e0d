"""A bare HTTP/1.1 connection, for what no client library would do: stop reading, reset, send half a
request.
"""

import contextlib
import socket
import ssl
import struct
from typing import Any, Self

import msgspec

PATIENCE_S = 30.0


class Wire:
    """One connection. `head` is the last answer's status line and headers, `body` what came of its body."""

    def __init__(self, port: int, *, receive_buffer_bytes: int = 0) -> None:
        self.socket = socket.socket()
        self.socket.settimeout(PATIENCE_S)
        if receive_buffer_bytes:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        self.socket.connect(("127.0.0.1", port))
        self._read = b""
        self.head = ""
        self.unfinished = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def close(self) -> None:
        self.socket.close()

    def reset(self) -> None:
        """Closes with a RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def more(self) -> bool:
        """Reads once; False at the end."""
        try:
            data = self.socket.recv(65_536)
        except (ConnectionResetError, ssl.SSLError):
            data = b""
        self._read += data
        return bool(data)

    def until(self, mark: bytes) -> bytes:
        """Reads up to and with the mark, and takes that."""
        while mark not in self._read:
            assert self.more(), f"ended before {mark!r}: {self._read[-500:]!r}"
        taken, _, self._read = self._read.partition(mark)
        return taken + mark

    def exactly(self, count: int) -> bytes:
        while len(self._read) < count:
            assert self.more(), "ended early"
        taken, self._read = self._read[:count], self._read[count:]
        return taken

    def answer_head(self) -> int:
        """Reads an answer's head; its status."""
        self.head = self.until(b"\r\n\r\n").decode("latin-1")
        return int(self.head.split()[1])

    def header(self, name: str) -> str:
        """A header of the last answer; "" where there is none."""
        for line in self.head.split("\r\n")[1:]:
            key, _, value = line.partition(":")
            if key.lower() == name:
                return value.strip()
        return ""

    @property
    def request_id(self) -> str:
        return self.header("x-request-id")

    def chunk(self) -> bytes | None:
        """The next HTTP chunk; None at the last one. At a body's early end, b"" and `unfinished`."""
        try:
            size = int(self.until(b"\r\n"), 16)
            data = self.exactly(size + 2)[:-2]
        except AssertionError:
            self.unfinished = True
            return b""
        return data if size else None

    def rest(self) -> bytes:
        """The rest of a chunked body."""
        parts = []
        while part := self.chunk():
            parts.append(part)
        return b"".join(parts)

    def until_closed(self) -> bytes:
        """All that comes until the other side closes."""
        while self.more():
            pass
        read, self._read = self._read, b""
        return read

    def answer(self) -> tuple[int, Any]:
        """A whole answer: its status and JSON (or bytes)."""
        status = self.answer_head()
        body = self.exactly(int(length)) if (length := self.header("content-length")) else self.rest()
        with contextlib.suppress(msgspec.DecodeError):
            return status, msgspec.json.decode(body)
        return status, body

    def ended(self) -> bool:
        """Waits for the other side to close; whether nothing more came."""
        while self.more():
            pass
        return not self._read


def events(body: bytes) -> list[Any]:
    """The events of a stream: objects, or the text where one is no JSON."""
    read: list[Any] = []
    for event in body.split(b"\n\n"):
        data = event.removeprefix(b"data: ")
        if data == b"[DONE]" or event.startswith(b":"):
            read.append(data.decode())
        elif data:
            read.append(msgspec.json.decode(data))
    return read
