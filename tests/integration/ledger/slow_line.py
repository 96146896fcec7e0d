"""A line to a PostgreSQL's Unix socket on which everything that is asked is late."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path


class SlowLine:
    """`url` goes through it; `delay_s` can be changed at any time."""

    def __init__(self, url: str, folder: Path) -> None:
        address, _, self._server_folder = url.rpartition("host=")
        self.url = f"{address}host={folder}"
        self.path = folder / ".s.PGSQL.5432"
        self.delay_s = 0.0
        self.connections = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, until either side ends it."""
        self.connections += 1
        server = await asyncio.open_unix_connection(f"{self._server_folder}/.s.PGSQL.5432")
        try:
            await asyncio.gather(self._pump(reader, server[1], is_late=True), self._pump(server[0], writer))
        finally:
            self.connections -= 1

    async def _pump(
        self, source: asyncio.StreamReader, to: asyncio.StreamWriter, *, is_late: bool = False
    ) -> None:
        with suppress(ConnectionError):
            while data := await source.read(65_536):
                if is_late:
                    await asyncio.sleep(self.delay_s)
                to.write(data)
                await to.drain()
        with suppress(ConnectionError):
            to.close()
            await to.wait_closed()


@asynccontextmanager
async def slow_line(url: str) -> AsyncIterator[SlowLine]:
    """A line to the server of `url`, quick at first."""
    with tempfile.TemporaryDirectory(prefix="mgln") as folder:
        line = SlowLine(url, Path(folder))
        server = await asyncio.start_unix_server(line.serve, line.path)
        try:
            yield line
        finally:
            server.close()
            await server.wait_closed()
