"""Runs a simulated engine under uvicorn, as vLLM runs: keep-alive of 5 s, no access log.

Owns the listening socket, so that the engine can stop accepting (connections then wait in the backlog, as
with a hung process) and accept again on the same port.
"""

import asyncio
import os
import socket
from types import FrameType

import uvicorn

from ledger.pause import pause
from proxy.simulator.app import Simulator

KEEP_ALIVE_S = 5  # vLLM's own
TICK_S = 1.0


class SimulatorServer(uvicorn.Server):
    """uvicorn with a switch for accepting, and a second signal that hurries."""

    def __init__(self, app: Simulator, listening: socket.socket, *, shutdown_timeout_s: int) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                loop="uvloop",
                http="httptools",
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=shutdown_timeout_s,
                backlog=2048,
            )
        )
        self._listening = listening
        self.listening_on: tuple[str, int] = listening.getsockname()[:2]
        self.answers = asyncio.Event()
        self._told = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        app.controls.set_accepting = self.set_accepting
        self._changes: set[asyncio.Task[None]] = set()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        del sig, frame
        if self.should_exit:
            self.force_exit = True
        self.stop()

    def stop(self) -> None:
        """Begins to stop."""
        self.should_exit = True
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._told.set)

    async def main_loop(self) -> None:
        """Until it is to stop; once a second for the date of answers. uvicorn's own looks ten times a
        second.
        """
        while not await self.on_tick(0):
            await pause(TICK_S, self._told)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().startup([self._duplicate()] if sockets is None else sockets)
        self.answers.set()

    def _duplicate(self) -> socket.socket:
        return socket.socket(fileno=os.dup(self._listening.fileno()))

    def set_accepting(self, accepting: bool, for_s: float) -> None:
        """Stops or starts accepting; after `for_s` seconds (0: never) the other way round."""
        if not accepting:
            for server in self.servers:
                server.close()
            self.servers = []
        elif not self.servers:
            change = asyncio.get_running_loop().create_task(self._accept())
            self._changes.add(change)
            change.add_done_callback(self._changes.discard)
        if for_s > 0:
            asyncio.get_running_loop().call_later(for_s, self.set_accepting, not accepting, 0.0)

    def close_listening(self) -> None:
        """Lets go of the port; after the server has stopped."""
        self._listening.close()

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()

        def protocol() -> asyncio.Protocol:
            return self.config.http_protocol_class(  # type: ignore[call-arg]
                config=self.config, server_state=self.server_state, app_state=self.lifespan.state
            )

        self.servers.append(await loop.create_server(protocol, sock=self._duplicate(), backlog=2048))


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind((host, port))
    listening.listen(2048)
    listening.setblocking(False)
    return listening
