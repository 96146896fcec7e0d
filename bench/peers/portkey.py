"""Portkey's open gateway: Node, from npm: the engine's address comes in a header of each request.

Its newest release does not stream with the newest @hono/node-server that it allows ("TypeError: immutable");
the lock beside this file pins one with which it does.
"""

from __future__ import annotations

import shutil

from bench.peers.peer import RECIPES, Peer, install_from_npm


class Portkey(Peer):
    """@portkey-ai/gateway, without its console."""

    name = "portkey"
    does = "no keys of its own, no limits, no metering (those are in its hosted service)"
    elsewhere = "npx @portkey-ai/gateway"
    version = "1.15.2"
    program = "node_modules/@portkey-ai/gateway/build/start-server.js"

    @classmethod
    def install(cls) -> None:
        install_from_npm(cls.home(), RECIPES / "portkey")

    @classmethod
    def missing(cls) -> str | None:
        if shutil.which("node") is None:
            return "portkey needs node (apt install nodejs npm), and is left out"
        return super().missing()

    def command(self) -> list[str]:
        return ["node", str(self.home() / self.program), f"--port={self.port}", "--headless"]

    def environ(self) -> dict[str, str]:
        return {"NODE_ENV": "production"}

    @property
    def headers(self) -> dict[str, str]:  # type: ignore[override]
        return {"x-portkey-provider": "openai", "x-portkey-custom-host": f"{self.engine_url}/v1"}
