"""The nginx configuration that we ship, in a real nginx, with the addresses and files of a test."""

import asyncio
import shutil
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from proxy.client_address import TrustedProxies

CONFIGURATION = Path(__file__).parents[3] / "deploy" / "nginx" / "metergate.conf"

pytestmark = [
    pytest.mark.nginx,
    pytest.mark.skipif(
        not shutil.which("nginx") or not shutil.which("openssl"), reason="needs nginx and openssl"
    ),
]


class Upstream:
    """Stands where the data plane stands: streams an event, and the next one only when the test says so."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.left = asyncio.Event()
        self.headers: list[tuple[bytes, bytes]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        self.headers = scope["headers"]
        while (await receive()).get("more_body"):
            pass
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})
        leaving = asyncio.create_task(receive())
        going_on = asyncio.create_task(self.go_on.wait())
        await asyncio.wait({leaving, going_on}, return_when=asyncio.FIRST_COMPLETED)
        if not going_on.done():
            self.left.set()
            return
        leaving.cancel()
        await send({"type": "http.response.body", "body": b"data: [DONE]\n\n"})


@pytest.fixture
async def upstream() -> AsyncIterator[tuple[Upstream, int]]:
    app = Upstream()
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
    serving = asyncio.create_task(server.serve([listener]))
    yield app, listener.getsockname()[1]
    app.go_on.set()
    server.should_exit = True
    await serving


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def write_configuration(folder: Path, data_port: int, tls_port: int) -> Path:
    """The shipped file with the test's addresses, inside a main configuration that needs no root."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-days", "1", "-subj", "/CN=llm.example.com", "-addext", "subjectAltName=DNS:llm.example.com",
         "-keyout", folder / "key.pem", "-out", folder / "fullchain.pem"],
        check=True, capture_output=True,
    )  # fmt: skip
    shipped = CONFIGURATION.read_text()
    for ours, tests in (
        ("listen 443 ssl", f"listen 127.0.0.1:{tls_port} ssl"),
        ("127.0.0.1:8080", f"127.0.0.1:{data_port}"),
        ("/etc/ssl/metergate", str(folder)),
    ):
        assert ours in shipped
        shipped = shipped.replace(ours, tests)
    places = "".join(
        f"{kind}_temp_path {folder}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    main = folder / "nginx.conf"
    main.write_text(
        f"daemon off; pid {folder}/pid; error_log {folder}/error.log;\n"
        f"events {{}}\nhttp {{ access_log off;\n{places}{shipped}}}\n"
    )
    return main


@pytest.fixture
async def nginx(tmp_path: Path, upstream: tuple[Upstream, int]) -> AsyncIterator[httpx.AsyncClient]:
    """A client of nginx in front of the upstream."""
    port = free_port()
    main = write_configuration(tmp_path, upstream[1], port)
    subprocess.run(["nginx", "-t", "-c", main, "-p", tmp_path, "-e", tmp_path / "error.log"], check=True)
    process = await asyncio.create_subprocess_exec(
        "nginx", "-c", str(main), "-p", str(tmp_path), "-e", str(tmp_path / "error.log")
    )
    trust = ssl.create_default_context(cafile=str(tmp_path / "fullchain.pem"))
    trust.check_hostname = False
    async with asyncio.timeout(20):
        while True:
            try:
                (await asyncio.open_connection("127.0.0.1", port))[1].close()
                break
            except OSError:
                await asyncio.sleep(0.02)
    headers = {"Host": "llm.example.com"}
    async with httpx.AsyncClient(
        base_url=f"https://127.0.0.1:{port}", verify=trust, headers=headers, timeout=30
    ) as client:
        yield client
    process.terminate()
    await process.wait()


async def test_an_event_passes_before_the_next_one_exists(
    nginx: httpx.AsyncClient, upstream: tuple[Upstream, int]
) -> None:
    """Guards against buffering: the upstream ends only after the client has seen the first event."""
    async with nginx.stream("POST", "/v1/chat/completions", content=b"{}") as response:
        chunks = response.aiter_bytes()
        assert await anext(chunks) == b"data: 1\n\n"
        upstream[0].go_on.set()
        assert b"".join([chunk async for chunk in chunks]) == b"data: [DONE]\n\n"


async def test_the_clients_address_stands_last(
    nginx: httpx.AsyncClient, upstream: tuple[Upstream, int]
) -> None:
    """Guards against a client that chooses its own address: what nginx adds must be what metergate finds."""
    upstream[0].go_on.set()
    spoofed = [("x-forwarded-for", "203.0.113.7"), ("x-forwarded-for", "127.0.0.1")]
    await nginx.post("/v1/chat/completions", content=b"{}", headers=spoofed)
    lines = [value for name, value in upstream[0].headers if name == b"x-forwarded-for"]
    assert b", ".join(lines) == b"203.0.113.7, 127.0.0.1, 127.0.0.1"
    found = TrustedProxies.parse(["192.0.2.1"]).client_of("192.0.2.1", upstream[0].headers)
    assert str(found) == "127.0.0.1"


async def test_a_client_that_leaves_is_noticed_upstream(
    nginx: httpx.AsyncClient, upstream: tuple[Upstream, int]
) -> None:
    """Guards against a GPU that goes on for nobody."""
    async with nginx.stream("POST", "/v1/chat/completions", content=b"{}") as response:
        assert await anext(response.aiter_bytes()) == b"data: 1\n\n"
    async with asyncio.timeout(20):
        await upstream[0].left.wait()


async def test_what_nginx_refuses_itself_has_openais_shape(nginx: httpx.AsyncClient) -> None:
    response = await nginx.post("/v1/chat/completions", content=b"x" * (17 << 20))
    assert response.status_code == 413
    assert response.json()["error"].keys() == {"message", "type", "param", "code"}


async def test_an_upstream_that_is_away_is_a_503_that_says_when_to_retry(tmp_path: Path) -> None:
    """nginx's own 502 page would be HTML, which no OpenAI client reads."""
    port = free_port()
    main = write_configuration(tmp_path, free_port(), port)
    process = await asyncio.create_subprocess_exec(
        "nginx", "-c", str(main), "-p", str(tmp_path), "-e", str(tmp_path / "error.log")
    )
    try:
        trust = ssl.create_default_context(cafile=str(tmp_path / "fullchain.pem"))
        trust.check_hostname = False
        transport = httpx.AsyncHTTPTransport(verify=trust, retries=8)
        async with httpx.AsyncClient(transport=transport, headers={"Host": "llm.example.com"}) as client:
            response = await client.post(f"https://127.0.0.1:{port}/v1/chat/completions", content=b"{}")
    finally:
        process.terminate()
        await process.wait()
    assert response.status_code == 503
    assert response.headers["retry-after"] == "1"
    assert response.json()["error"]["type"] == "server_error"
