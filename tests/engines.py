"""Simulated engines for tests: started, told what to do, asked what they made.

`engine_thread(config)` is quick and for most tests; `engine_process(*arguments)` is one that can be killed.
Both are context managers and yield an Engine; `engine` and `fast_engine` are fixtures of it (import them, or
name this module in `pytest_plugins`).
"""

import asyncio
import contextlib
import signal
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import httpx
import msgspec
import pytest
import uvloop

from proxy.simulator import Fault, SimulatorConfig, create_simulator
from proxy.simulator.server import SimulatorServer, listen
from race.engine import start_engine

PATIENCE_S = 20.0

T = TypeVar("T")


class Engine:
    """A running simulated engine, spoken to directly."""

    def __init__(
        self,
        port: int,
        process: subprocess.Popen[bytes] | None = None,
        *,
        certificate: Path | None = None,
    ) -> None:
        self.port = port
        self.url = f"{'https' if certificate else 'http'}://127.0.0.1:{port}"
        self.process = process
        trusted = ssl.create_default_context(cafile=certificate) if certificate else False
        self.client = httpx.Client(base_url=self.url, timeout=PATIENCE_S, verify=trusted)

    def _json(self, method: str, path: str, content: Any = None) -> Any:
        body = None if content is None else msgspec.json.encode(content)
        response = self.client.request(method, path, content=body)
        response.raise_for_status()
        return response.json()

    def calls(self, request_id: str | None = None) -> list[dict[str, Any]]:
        """The engine's own account of its calls, oldest first."""
        return self._json("GET", "/simulator/calls" + (f"?request_id={request_id}" if request_id else ""))

    def call(self, request_id: str) -> dict[str, Any]:
        """The one call of a request id, as soon as it has ended."""
        return self.wait_for(
            lambda: next((call for call in self.calls(request_id) if call["ended"] != "running"), None),
            f"call {request_id} to end",
        )

    def totals(self) -> dict[str, Any]:
        return self._json("GET", "/simulator/totals")

    def settled_totals(self) -> dict[str, Any]:
        """The totals once no call runs any more."""

        def settled() -> dict[str, Any] | None:
            totals = self.totals()
            return None if totals["ended"]["running"] else totals

        return self.wait_for(settled, "all calls to end")

    def metrics(self) -> dict[str, float]:
        """The engine's metrics by their full name with labels, and summed over labels by their bare name."""
        values: dict[str, float] = {}
        for line in self.client.get("/metrics").text.splitlines():
            if line.startswith("#"):
                continue
            name, _, value = line.rpartition(" ")
            values[name] = float(value)
            if "{" in name:
                bare = name.partition("{")[0]
                values[bare] = values.get(bare, 0.0) + float(value)
        return values

    def set_faults(self, *faults: Fault) -> None:
        """Replaces all faults still to come."""
        self._json("PUT", "/simulator/faults", list(faults))

    def faults(self) -> list[dict[str, Any]]:
        return self._json("GET", "/simulator/faults")

    def set_pace(
        self, *, tokens_per_second: float | None = None, first_token_delay_ms: float | None = None
    ) -> None:
        """For calls to come."""
        pace = {"tokens_per_second": tokens_per_second, "first_token_delay_ms": first_token_delay_ms}
        self._json("PUT", "/simulator/pace", pace)

    def stop_accepting(self, for_ms: float = 0.0) -> None:
        """New connections wait in the backlog; `for_ms` 0: until accept_again."""
        self._json("PUT", "/simulator/accepting", {"accepting": False, "for_ms": for_ms})

    def accept_again(self) -> None:
        self._json("PUT", "/simulator/accepting", {"accepting": True})

    def wait_for(self, look: Callable[[], T | None], what: str) -> T:
        """Looks until there is something; fails after PATIENCE_S."""
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            found = look()
            if found is not None:
                return found
            time.sleep(0.005)
        raise AssertionError(f"waited {PATIENCE_S} s in vain for {what}")

    def kill(self) -> None:
        """kill -9. Only for engine_process."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@contextlib.contextmanager
def engine_thread(
    config: SimulatorConfig | None = None, *, port: int = 0, certificate: Path | None = None
) -> Iterator[Engine]:
    """An engine in a thread of this process. `certificate`: a PEM file with its key, for https."""
    server = SimulatorServer(
        create_simulator(config or SimulatorConfig()), listen("127.0.0.1", port), shutdown_timeout_s=1
    )
    server.config.ssl_certfile = certificate
    answers = threading.Event()

    async def serve() -> None:
        serving = asyncio.ensure_future(server.serve())
        await server.answers.wait()
        answers.set()
        await serving

    def run() -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve())

    thread = threading.Thread(target=run, name="simulated engine", daemon=True)
    thread.start()
    assert answers.wait(PATIENCE_S), "the simulated engine did not start"
    engine = Engine(server.listening_on[1], certificate=certificate)
    try:
        yield engine
    finally:
        engine.client.close()
        server.stop()
        server.force_exit = True
        thread.join(PATIENCE_S)
        server.close_listening()


@contextlib.contextmanager
def engine_process(*arguments: str, port: int = 0) -> Iterator[Engine]:
    """An engine in a process of its own, with `python -m proxy.simulator`'s arguments."""
    process, taken = start_engine(*arguments, port=port)
    engine = Engine(taken, process.popen)
    try:
        yield engine
    finally:
        engine.client.close()
        process.kill()


@pytest.fixture
def engine() -> Iterator[Engine]:
    """An engine of 200 tokens a second, with cache details."""
    with engine_thread(SimulatorConfig(tokens_per_second=200, prompt_tokens_details=True)) as running:
        yield running


@pytest.fixture
def fast_engine() -> Iterator[Engine]:
    """An engine as fast as possible."""
    with engine_thread(SimulatorConfig(tokens_per_second=0, prompt_tokens_details=True)) as running:
        yield running
