"""ferrogw, the Ferro Labs AI Gateway: Go, its binary from PyPI.

The engine is reached as `ollama`, its only provider with a free address and free model names.
"""

from __future__ import annotations

from bench.peers.peer import RECIPES, Peer, install_from_pypi
from bench.wire import MODEL


class Ferrogw(Peer):
    """ferrogw with everything in memory."""

    name = "ferrogw"
    does = "one master key and a rate limit, in memory; no ledger"
    elsewhere = "pip install ferrogw"
    version = "1.5.10"
    program = "bin/ferrogw"

    @classmethod
    def install(cls) -> None:
        install_from_pypi(cls.home(), RECIPES / "ferrogw.txt")

    def command(self) -> list[str]:
        return [str(self.home() / self.program), "serve"]

    def environ(self) -> dict[str, str]:
        return {
            "GATEWAY_CONFIG": str(self.folder / "config.yaml"),
            "PORT": str(self.port),
            "MASTER_KEY": self.key,
            "OLLAMA_HOST": self.engine_url,
            "FERRO_OLLAMA_MODELS": MODEL,
            "RATE_LIMIT_RPS": "1000000",
            "RATE_LIMIT_BURST": "1000000",
            "LOG_LEVEL": "error",
        }

    def files(self) -> dict[str, str]:
        return {"config.yaml": "strategy:\n  mode: fallback\ntargets:\n  - virtual_key: ollama\n"}
