"""What the probe makes of engines that answer with something else than a list of models."""

import asyncio

import pytest

from proxy.backends import Backends
from proxy.upstream import Timeouts


async def answering(body: bytes) -> asyncio.Server:
    """A server that answers whatever it is asked with `body`."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(
            b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
        )
        await writer.drain()
        writer.close()

    return await asyncio.start_server(answer, "127.0.0.1", 0)


@pytest.mark.parametrize(
    "body",
    [
        b"<html>It works!</html>",
        b"[]",
        b'{"data": null}',
        b'{"data": ["a model"]}',
        b'{"data": [{"id": "m", "created": "yesterday"}]}',
        b'{"data": [{"id": "m", "created": 1e400}]}',
        b"[" * 100_000,
    ],
)
async def test_an_engine_that_answers_nonsense_is_down_and_probed_again(body: bytes) -> None:
    """An infinite `created` ended the worker at its start, and later on the probe, for good."""
    server = await answering(body)
    host, port = server.sockets[0].getsockname()
    backends = Backends([f"http://{host}:{port}"], Timeouts())
    try:
        await backends.start()
        assert not backends.any_healthy()
    finally:
        await backends.stop()
        server.close()
