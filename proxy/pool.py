"""The connections to one engine.

Owns which of them is idle, which carries a call, how new ones are made and when each has outlived its time.
What happens on one is `proxy.upstream`'s. Rules:

- One request at a time on a connection; a connection is idle for at most IDLE_SECONDS (vLLM closes at 5 s).
- No timer per request: the owner calls `sweep` a few times a second, and deadlines are compared there. One
  that has passed counts at the sweep after: what waits in the socket while our own loop stood still is read
  first, and is no silence.
"""

import asyncio
import ssl
from collections import deque
from typing import Final
from urllib.parse import urlsplit

from proxy.eager import Bell
from proxy.upstream import EngineUnreachable, Exchange, Timeouts

IDLE_SECONDS: Final = 3.5


class Pool:
    """The connections to one engine. `url` is its base URL; `engine_key` is what it asks for."""

    def __init__(
        self,
        url: str,
        timeouts: Timeouts,
        *,
        engine_key: str | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        parts = urlsplit(url)
        assert parts.hostname, url
        self.url = url
        self.timeouts = timeouts
        self._host = parts.hostname
        self._tls = (tls or ssl.create_default_context()) if parts.scheme == "https" else None
        self._port = parts.port or (443 if self._tls else 80)
        self._prefix = parts.path.rstrip("/")
        self._netloc = parts.netloc
        self._authorization = f"authorization: Bearer {engine_key}\r\n" if engine_key else ""
        self._heads: dict[str, bytes] = {}
        self._idle: deque[Exchange] = deque()
        self._busy: set[Exchange] = set()
        self._late: dict[Exchange, float] = {}
        """What the last sweep found late, and by which deadline."""
        self._connecting = 0

    @property
    def in_flight(self) -> int:
        """How many calls are on their way, those that still connect among them."""
        return len(self._busy) + self._connecting

    async def post(self, path: str, body: bytes, request_id: str, *, fresh: bool = False) -> Exchange:
        """Sends a JSON body to `path`; returns the exchange that its answer is coming on.

        `fresh`: on a new connection, because an old one has just turned out to be dead. Raises
        EngineUnreachable.
        """
        head = self._heads.get(path) or self._make_head(path)
        request = b"%b%b\r\ncontent-length: %d\r\n\r\n%b" % (head, request_id.encode(), len(body), body)
        exchange = (None if fresh else self._take()) or await self._connect()
        self._busy.add(exchange)
        exchange.send(request)
        return exchange

    async def get(self, path: str, *, fresh: bool = False) -> Exchange:
        """As `post`, without a body."""
        request = f"GET {self._prefix}{path} HTTP/1.1\r\nhost: {self._netloc}\r\n{self._authorization}\r\n"
        exchange = (None if fresh else self._take()) or await self._connect()
        self._busy.add(exchange)
        exchange.send(request.encode())
        return exchange

    def put_back(self, exchange: Exchange) -> None:
        """Keeps a connection whose answer is whole for the next call."""
        self._busy.discard(exchange)
        exchange.idle = True
        exchange.used_before = True
        exchange.deadline = asyncio.get_running_loop().time() + IDLE_SECONDS
        self._idle.append(exchange)

    def forget(self, exchange: Exchange) -> None:
        """Drops a connection that is closed or about to be."""
        self._busy.discard(exchange)
        if exchange.idle and exchange in self._idle:
            self._idle.remove(exchange)

    def sweep(self, now: float) -> None:
        """Ends what has outlived its deadline: an idle connection at once, a call where the sweep before
        found it so. To be called a few times a second.
        """
        for exchange in [one for one in self._idle if one.deadline < now]:
            exchange.expire()
        before = self._late
        self._late = {one: one.deadline for one in self._busy if one.deadline < now}
        for exchange, deadline in self._late.items():
            if before.get(exchange) == deadline:
                exchange.expire()

    def close(self) -> None:
        """Closes every connection."""
        for exchange in (*self._busy, *self._idle):
            exchange.abort()

    def _take(self) -> Exchange | None:
        """The connection that was used last; old ones are left to the sweep."""
        return self._idle.pop() if self._idle else None

    async def _connect(self) -> Exchange:
        """A new connection. It is made in a task of its own: the call that waits for it needs none."""
        opened = Bell()
        opening = asyncio.create_task(self._open())
        opening.add_done_callback(lambda _task: opened.set())
        self._connecting += 1
        try:
            await opened
            return opening.result()
        except (OSError, TimeoutError) as error:
            raise EngineUnreachable(f"no connection to the engine at {self.url}", answered=False) from error
        except asyncio.CancelledError:
            if not opening.cancel() and opening.exception() is None:
                opening.result().abort()
            raise
        finally:
            self._connecting -= 1

    async def _open(self) -> Exchange:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(self.timeouts.connect_seconds):
            _, exchange = await loop.create_connection(
                lambda: Exchange(self), self._host, self._port, ssl=self._tls
            )
        return exchange

    def _make_head(self, path: str) -> bytes:
        head = (
            f"POST {self._prefix}{path} HTTP/1.1\r\nhost: {self._netloc}\r\n"
            "content-type: application/json\r\n"
            f"{self._authorization}x-request-id: "
        ).encode()
        self._heads[path] = head
        return head
