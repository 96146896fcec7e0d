"""How a subject's process comes and goes: pinned, logging into its folder, awaited, ended.

Must not know which subject it is."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from bench.processes import on_core

_STOPS_WITHIN_S = 20.0


class SubjectFailed(Exception):
    """A subject did not come up, or went down under load; the message ends with its log's last lines."""


def free_port() -> int:
    """A port free a moment ago; for programs that cannot be given a bound socket."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port: int = bound.getsockname()[1]
        return port


def launch(
    command: list[str], *, core: int, log: Path, environ: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Starts `command` on `core`; its children inherit the pinning. Output goes to `log`."""
    with log.open("ab") as output, on_core(core):
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environ or {})},
            process_group=0,
        )


def await_up(
    process: subprocess.Popen[bytes], is_up: Callable[[], bool], *, log: Path, within_s: float
) -> None:
    """Returns once `is_up`; raises SubjectFailed if the process ends or time runs out first."""
    give_up_s = time.monotonic() + within_s
    while not is_up():
        if process.poll() is not None or time.monotonic() > give_up_s:
            ended = (
                f"ended with {process.returncode}" if process.returncode is not None else "did not come up"
            )
            raise SubjectFailed(f"{process.args!r} {ended}:\n{log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.05)


def accepts(port: int) -> bool:
    """Whether somebody listens on `port`."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def end(process: subprocess.Popen[bytes]) -> None:
    """Asks the process to stop, then ends its whole process group."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(_STOPS_WITHIN_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
