"""vllm-router: Rust, from PyPI: balances over engines."""

from __future__ import annotations

from bench.peers.peer import RECIPES, Peer, install_from_pypi
from bench.subjects.launch import free_port


class VllmRouter(Peer):
    """vllm-router with one engine behind it."""

    name = "vllm-router"
    does = "no keys, no limits, no metering; routes over engines"
    elsewhere = "pip install vllm-router"
    version = "0.1.17"
    program = "bin/vllm-router"

    @classmethod
    def install(cls) -> None:
        install_from_pypi(cls.home(), RECIPES / "vllm-router.txt")

    def command(self) -> list[str]:
        program = str(self.home() / self.program)
        where = ["--host", "127.0.0.1", "--port", str(self.port), "--prometheus-port", str(free_port())]
        engines = ["--worker-urls", self.engine_url, "--policy", "round_robin"]
        unrefused = ["--max-concurrent-requests", "10000"]
        return [program, *where, *engines, *unrefused, "--log-level", "warning"]
