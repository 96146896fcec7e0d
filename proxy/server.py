"""uvicorn's server, with the way of stopping that a proxy needs.

Owns the listening, the sweep over connections (`proxy.connection`), and that a stop lets running calls
finish, then cuts them, then settles them. Knows nothing of what is served. Rules:

- First signal: stop accepting, wait up to `drain_seconds`, cut the streams, leave. Second signal: cut at
  once.
- Connections that are open then take one more request, answered with `connection: close`. One without any is
  closed after LINGER_SECONDS, so that few requests cross with the close; those are for the client to send
  again, and safe to: nothing of them has begun.
"""

import asyncio
import logging
import signal
import socket
from collections.abc import Awaitable, Callable, Mapping
from types import FrameType
from typing import Any, Final, cast

import uvicorn

from ledger import lifeline
from ledger.pause import pause
from proxy.connection import STALL_SECONDS, Connection

CUT_SECONDS: Final = 10.0
"""What a cut stream gets to be drained and settled."""

TICK_SECONDS: Final = 1.0
"""How often the date of answers is set anew."""

LINGER_SECONDS: Final = 1.0
"""How long an idle connection may still bring a request after a stop: those of busy clients do."""


class Server(uvicorn.Server):
    """`cut` ends what is still running after the drain, and returns when it is settled."""

    def __init__(
        self,
        app: Any,
        *,
        drain_seconds: float,
        on_stop: Callable[[], None],
        cut: Callable[[], Awaitable[None]],
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=Connection,
                ws="none",
                loop="uvloop",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                backlog=4096,
                timeout_graceful_shutdown=int(drain_seconds + CUT_SECONDS),
            )
        )
        self._drain_seconds = drain_seconds
        self._on_stop = on_stop
        self._cut = cut
        self._hurry = asyncio.Event()
        self._told = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listens, and tells the supervisor so."""
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        lifeline.on_end_of_supervisor(self.stop)
        self._sweeper = asyncio.create_task(self._sweep())
        lifeline.say_ready()

    def stop(self) -> None:
        """Begins to stop; called again, hurries."""
        if self.should_exit:
            self._hurry.set()
        self.should_exit = True
        self._told.set()

    async def main_loop(self) -> None:
        """Until it is to stop; once a second for the date of answers. uvicorn's own looks ten times a
        second.
        """
        while not await self.on_tick(0):
            await pause(TICK_SECONDS, self._told)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal: a clean stop ends with exit status 0, so nothing is raised again."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self.stop)
        else:
            raise SystemExit(128 + signal.Signals(sig).value)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Lets running calls finish, then cuts them."""
        self._on_stop()
        tasks = [asyncio.create_task(self._close_idle()), asyncio.create_task(self._cut_after_drain())]
        await super().shutdown(sockets)
        for task in (*tasks, self._sweeper):
            task.cancel()

    async def _close_idle(self) -> None:
        await pause(min(LINGER_SECONDS, self._drain_seconds), self._hurry)
        for connection in list(self.server_state.connections):
            cast(Connection, connection).close_idle()

    async def _cut_after_drain(self) -> None:
        try:
            await asyncio.wait_for(self._hurry.wait(), self._drain_seconds)
        except TimeoutError:
            logging.getLogger("metergate.server").warning(
                "calls still run after %g s: they are cut and settled", self._drain_seconds
            )
        await self._cut()

    async def _sweep(self) -> None:
        before: dict[Connection, object] = {}
        while True:
            await asyncio.sleep(STALL_SECONDS / 6)
            before = self.sweep(asyncio.get_running_loop().time(), before)

    def sweep(self, now: float, before: Mapping[Connection, object]) -> dict[Connection, object]:
        """Ends connections that are overdue, where the sweep before found them so: what came while this
        process stood still is read first. Returns what the next is to be told.
        """
        found: dict[Connection, object] = {}
        for connection in cast(list[Connection], list(self.server_state.connections)):
            is_unread = connection.is_unread(now)
            if not (is_unread or connection.is_stalled(now) or connection.is_spent(now)):
                continue
            found[connection] = connection.moved
            if before.get(connection) != connection.moved:
                continue
            if is_unread:
                connection.transport.abort()
            else:
                connection.transport.close()
        return found
