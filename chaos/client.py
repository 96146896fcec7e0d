"""One call over a socket of its own: takes exactly as many bytes as the client wants, as slowly as it wants,
and goes away as it wants.

Must not know what is counted in the answer, nor why the client behaves so.
"""

from __future__ import annotations

import asyncio
import socket
import struct

from chaos.answer import Received
from chaos.plan import Asked, CallReport, Leaving

_CONNECT_S = 5.0
_SILENCE_S = 45.0
"""Longer than anything that metergate lets a client wait for in the chaos."""

_TAKE_BYTES = 65_536
_SLOW_BUFFER_BYTES = 2_048
_SLOW_TAKE_BYTES = 600
_SLOW_PAUSE_S = 0.05
_SLOW_S_MAX = 8.0
"""A slow reader wakes up after a while: the load has to come to an end."""


async def call(port: int, group: str, asked: Asked) -> CallReport:
    """Makes one call; never raises for what the other side does."""
    report = CallReport(
        asked.name, group, asked.chat, asked.streamed, asked.choices, asked.leaving, asked.slow
    )
    connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    connection.setblocking(False)
    received = Received()
    try:
        if asked.slow:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SLOW_BUFFER_BYTES)
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(_CONNECT_S):
            await loop.sock_connect(connection, ("127.0.0.1", port))
            report.connected = True
            await loop.sock_sendall(connection, asked.request)
        await _take(connection, asked, received, report)
    except (OSError, TimeoutError):
        pass
    finally:
        if report.left and asked.leaving is Leaving.RESETS:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
    report.status, report.code = received.status, received.code
    report.request_id, report.tokens, report.whole = received.request_id, received.tokens, received.whole
    return report


async def _take(connection: socket.socket, asked: Asked, received: Received, report: CallReport) -> None:
    """Reads until the answer is whole, the other side closes, or the client has had enough."""
    loop = asyncio.get_running_loop()
    leaves = asked.leaving is not Leaving.NEVER
    if leaves and not asked.leave_after_bytes:
        await asyncio.sleep(asked.leave_after_ms / 1000)
        report.left = True
        return
    slow_until = loop.time() + _SLOW_S_MAX if asked.slow else 0.0
    while not received.whole:
        slow = loop.time() < slow_until
        size = _SLOW_TAKE_BYTES if slow else _TAKE_BYTES
        if leaves:
            size = min(size, asked.leave_after_bytes - report.received_bytes)
        async with asyncio.timeout(_SILENCE_S):
            data = await loop.sock_recv(connection, size)
        if not data:
            return
        report.received_bytes += len(data)
        received.feed(data)
        if leaves and report.received_bytes >= asked.leave_after_bytes and not received.whole:
            report.left = True
            return
        if slow:
            await asyncio.sleep(_SLOW_PAUSE_S)
