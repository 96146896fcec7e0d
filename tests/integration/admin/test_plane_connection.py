"""What never reaches the control plane's app: no HTTP, heads without an end."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import uvicorn

from admin.config import AdminSettings
from admin.plane_connection import HEAD_BYTES_MAX
from admin.plane_server import configuration

LINE = b"GET /healthz HTTP/1.1\r\nhost: a\r\n"
ENDLESS = (LINE + b"x: ").ljust(HEAD_BYTES_MAX + 1, b"a")
"""One byte too many, and none behind it: what a server leaves unread may take its answer away."""


@asynccontextmanager
async def served(settings: AdminSettings) -> AsyncIterator[int]:
    """The port of a control plane that is served as `metergate admin` serves it."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(configuration(settings))
    serving = asyncio.create_task(server.serve([listener]))
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        await serving


async def told(port: int, *sent: bytes) -> list[tuple[int, dict[str, str], bytes]]:
    """The answers to these bytes, until the server closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for part in sent:
            writer.write(part)
            await writer.drain()
        unread = await reader.read()
    except ConnectionError:
        unread = b""
    finally:
        writer.close()
    answers = []
    while unread:
        head, _, unread = unread.partition(b"\r\n\r\n")
        line, *lines = head.decode().split("\r\n")
        headers = dict(one.lower().split(": ", 1) for one in lines)
        size = int(headers["content-length"])
        answers.append((int(line.split()[1]), headers, unread[:size]))
        unread = unread[size:]
    return answers


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        ([b"NONSENSE\r\n\r\n"], 400, "invalid_request"),
        ([b"GET /healthz HTTP/1.1\r\nno header\r\n\r\n"], 400, "invalid_request"),
        ([b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n"], 400, "invalid_request"),
        ([ENDLESS], 431, "headers_too_large"),
    ],
)  # fmt: skip
async def test_what_is_no_request_is_refused_in_our_shape(
    sqlite_url: str, tmp_path: Path, sent: list[bytes], status: int, code: str
) -> None:
    """Guards against plain text where every client expects an error to parse, and against a stranger who
    fills the memory with one head.
    """
    async with served(AdminSettings(database_url=sqlite_url, data_dir=tmp_path)) as port:
        ((answered, headers, body),) = await told(port, *sent)
        assert (answered, headers["content-type"]) == (status, "application/json")
        error = json.loads(body)["error"]
        assert error["code"] == code and set(error) == {"message", "type", "param", "code"}


async def test_bodies_and_many_requests_are_no_heads(sqlite_url: str, tmp_path: Path) -> None:
    """Guards against a bound that counts what is no head: a large body, or the heads of before."""
    async with served(AdminSettings(database_url=sqlite_url, data_dir=tmp_path)) as port:
        head = LINE + b"x: " + b"a" * 60_000 + b"\r\n\r\n"
        last = LINE + b"connection: close\r\n\r\n"
        assert [one[0] for one in await told(port, head, head, head, head, last)] == [200] * 5
        body = b"a" * (HEAD_BYTES_MAX * 2)
        login = b"POST /admin/v1/session HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n" % len(body)
        assert [one[0] for one in await told(port, login, body, last)] == [400, 200]
