"""Added latency: one call at a time through the subject, each next to the same call made directly to the
engine.

Rules: blocking sockets, so that no event loop of ours is in the figure; the two are interleaved call by call,
so that whatever else the machine does falls on both alike. Must not know which subject answers.
"""

from __future__ import annotations

import socket
import time


class CallFailed(Exception):
    """A latency call was not answered with 200 and a Content-Length."""


class Caller:
    """One keep-alive connection that makes one unstreamed call after another."""

    def __init__(self, host: str, port: int, request: bytes) -> None:
        self._socket = socket.create_connection((host, port), timeout=30)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._request = request

    def call_us(self) -> float:
        """Makes the call; returns how long until the last byte of the answer."""
        started_ns = time.perf_counter_ns()
        self._socket.sendall(self._request)
        answer = self._socket.recv(65536)
        while not _is_whole(answer):
            more = self._socket.recv(65536)
            if not more:
                raise CallFailed(f"closed after {answer[:300]!r}")
            answer += more
        return (time.perf_counter_ns() - started_ns) / 1000

    def close(self) -> None:
        self._socket.close()


def latencies_us(
    direct: Caller, through: Caller, *, calls: int, unmeasured: int, limit_s: float
) -> tuple[list[float], list[float]]:
    """`calls` measured pairs after `unmeasured` ones, fewer if they take longer than `limit_s`; returns
    (direct, through).
    """
    for _ in range(unmeasured):
        direct.call_us()
        through.call_us()
    direct_us: list[float] = []
    through_us: list[float] = []
    until_s = time.monotonic() + limit_s
    while len(direct_us) < calls and (not direct_us or time.monotonic() < until_s):
        direct_us.append(direct.call_us())
        through_us.append(through.call_us())
    return direct_us, through_us


def _is_whole(answer: bytes) -> bool:
    head_end = answer.find(b"\r\n\r\n")
    if head_end < 0:
        return False
    if not answer.startswith(b"HTTP/1.1 200"):
        raise CallFailed(repr(answer[:300]))
    head = answer[:head_end].lower()
    start = head.find(b"content-length:")
    if start < 0:
        raise CallFailed(f"no Content-Length in {head!r}")
    length = int(head[start + 15 :].split(b"\r", 1)[0])
    return len(answer) >= head_end + 4 + length
