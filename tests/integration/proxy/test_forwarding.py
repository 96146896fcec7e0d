"""Passing /v1/organization on to the control plane: a real server behind, and what a client sends by hand."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import pytest

from proxy import errors, forwarding
from proxy.forwarding import BODY_BYTES_MAX, Forwarding, takes
from proxy.known_head import Head
from tests.integration.proxy.conftest import NewGate

ANSWER = (
    b"HTTP/1.1 200 x\r\ncontent-type: application/json\r\nconnection: x-hop\r\nx-hop: 1\r\nkeep-alive: 5\r\n"
    b"x-request-id: req_a\r\ndate: now\r\ntransfer-encoding: chunked\r\n\r\n"
)


PROJECTS = "/v1/organization/projects"


@dataclass
class Behind:
    """A control plane that notes what it is asked, byte by byte."""

    url: str = ""
    heads: list[bytes] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    breaks_off: bool = False
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):  # who asks has broken off
            await self.converse(reader, writer)
        writer.close()
        self.ended.set()

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.heads.append(head)
        self.begun.set()
        body = b""
        if b"transfer-encoding: chunked" in head.lower():
            while size := int(await reader.readuntil(b"\r\n"), 16):
                body += await reader.readexactly(size)
                await reader.readline()
        elif b"content-length: " in head.lower():
            size = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0])
            body = await reader.readexactly(size)
        self.bodies.append(body)
        writer.write(ANSWER + b"3\r\none\r\n")
        await writer.drain()
        if self.breaks_off:
            return
        await self.go_on.wait()
        writer.write(b"3\r\ntwo\r\n0\r\n\r\n")
        await writer.drain()


@asynccontextmanager
async def behind() -> AsyncIterator[Behind]:
    plane = Behind()
    server = await asyncio.start_server(plane.answer, "127.0.0.1", 0)
    plane.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield plane
        if plane.heads:
            await asyncio.wait_for(plane.ended.wait(), 10)  # whoever asked has let go


@dataclass
class Asked:
    """A request as the data plane's server hands it on, and what was answered to it."""

    target: str
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    method: str = "GET"
    status: int | None = None
    lines: bytes = b""
    answered: bytes = b""
    came: asyncio.Event = field(default_factory=asyncio.Event)
    is_ended: bool = False
    client_host: str | None = "192.0.2.7"

    @property
    def head(self) -> Head:
        named = [(name.lower().encode(), value.encode()) for name, value in self.headers.items()]
        return Head(self.method, unquote(self.target.partition("?")[0]), named, None, self.target.encode())

    async def read(self, limit_bytes: int) -> bytes:
        if len(self.body) > limit_bytes:
            raise errors.BodyTooLarge("too large")
        return self.body

    def whole(self, status: int, lines: bytes, body: bytes) -> None:
        assert self.status is None
        self.status, self.lines, self.answered, self.is_ended = status, lines, body, True

    def start(self, lines: bytes) -> None:
        assert self.status is None
        self.status, self.lines = 200, lines

    def chunk(self, data: bytes) -> bool:
        self.answered += data
        self.came.set()
        return False

    async def drained(self) -> None:
        await asyncio.sleep(0)

    def end(self) -> None:
        self.is_ended = True


async def carry(forwarder: Forwarding, asked: Any) -> int:
    return await forwarder.carry(asked)


async def test_bodies_go_both_ways_as_they_come_and_the_connections_headers_do_not() -> None:
    """Guards against an answer that waits for its end, a smuggled second request, and an address that the
    client made up standing where the audit log takes its own from.
    """
    async with behind() as plane:
        forwarder = Forwarding(plane.url)
        headers = {
            "Authorization": "Bearer sk-admin-x",
            "OpenAI-Organization": "org-a",
            "Host": "api.example",
            "Connection": "keep-alive, X-Mine",
            "X-Mine": "1",
            "Transfer-Encoding": "chunked",
            "TE": "trailers",
            "X-Forwarded-For": "10.0.0.1",
            "Forwarded": "for=10.0.0.1",
            "Content-Type": "application/json",
        }
        asked = Asked("/v1/organization/projects?limit=5&a=%2F", b'{"a": 1}', headers, "POST")
        carrying = asyncio.create_task(carry(forwarder, asked))
        await asyncio.wait_for(asked.came.wait(), 10)
        assert (asked.answered, asked.is_ended) == (b"one", False)
        plane.go_on.set()
        assert await carrying == 200
        assert (asked.status, asked.answered, asked.is_ended) == (200, b"onetwo", True)
        assert asked.lines == b"content-type: application/json\r\nx-request-id: req_a\r\n"
        (head,) = plane.heads
        lines = head.decode().lower().split("\r\n")
        assert lines[0] == "post /v1/organization/projects?limit=5&a=%2f http/1.1"
        assert sorted(line for line in lines[1:] if line) == sorted([
            f"host: {plane.url.removeprefix('http://')}", "authorization: bearer sk-admin-x",
            "openai-organization: org-a", "content-type: application/json",
            "x-forwarded-for: 10.0.0.1, 192.0.2.7", "content-length: 8",
        ])  # fmt: skip
        assert plane.bodies == [b'{"a": 1}']
        await forwarder.close()


@pytest.mark.parametrize(
    "target",
    [
        "/v1/organizations",
        "/v1/organization-x",
        "/admin/v1/tenants",
        "/v1/organization/../../admin/v1/tenants",
        "/v1/organization/%2e%2e/%2e%2e/admin/v1/tenants",
        "/v1/organization/..%2f..%2fadmin",
        "/v1/organization/./x",
        "/v1/organization/..%5c..%5cadmin",
        "http://other.example/v1/organization/projects",
    ],
)
async def test_nothing_but_the_prefix_is_passed_on(target: str) -> None:
    """Guards against the operator's own resources being had on the public port."""
    async with behind() as plane:
        forwarder, asked = Forwarding(plane.url), Asked(target)
        with pytest.raises(errors.PathUnknown):
            await carry(forwarder, asked)
        assert (plane.heads, asked.status) == ([], None)
        await forwarder.close()


def test_what_is_taken() -> None:
    assert takes("/v1/organization") and takes("/v1/organization/projects/a..b/archive")
    assert not takes("/v1/organization/..") and not takes("/v1/organizationx")


async def test_a_body_past_the_bound_is_not_passed_on() -> None:
    """Guards against a data plane that is made to carry anything of any size."""
    async with behind() as plane:
        forwarder, asked = Forwarding(plane.url), Asked(PROJECTS, b"x" * (BODY_BYTES_MAX + 1), method="POST")
        with pytest.raises(errors.BodyTooLarge):
            await carry(forwarder, asked)
        assert (plane.heads, asked.status) == ([], None)
        await forwarder.close()


async def test_an_answer_that_breaks_off_stays_so() -> None:
    """Guards against half a page that looks whole, and a second head in the middle of it."""
    async with behind() as plane:
        plane.breaks_off = True
        forwarder, asked = Forwarding(plane.url), Asked(PROJECTS)
        assert await carry(forwarder, asked) == 200
        assert (asked.answered, asked.is_ended) == (b"one", False)
        await forwarder.close()


async def test_a_control_plane_that_is_away_is_503() -> None:
    """Guards against a traceback where the control plane restarts."""
    forwarder, asked = Forwarding("http://127.0.0.1:1"), Asked(PROJECTS)
    with pytest.raises(errors.ControlPlaneUnavailable) as caught:
        await carry(forwarder, asked)
    assert (caught.value.status, asked.status) == (503, None)
    await forwarder.close()


def test_the_data_planes_port_answers_for_the_control_plane(new_gate: NewGate) -> None:
    """Guards against a setting that nothing heeds. To be enabled with the hook in proxy/app.py."""
    gate = new_gate(forward_admin_url="http://127.0.0.1:1")
    answer = gate.client.get(f"{forwarding.PREFIX}/projects?limit=5")
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "control_plane_unavailable"
    assert gate.client.get("/admin/v1/tenants").status_code == 404
