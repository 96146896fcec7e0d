"""How long a second start takes to `ready`, and what it costs: the whole of `metergate up`.

The data folder and the compiled modules are there. Time is from the start of the command to its line `ready`;
CPU is that of the whole tree until then. With the simulator, as on a first try, and all cores of the machine.
Beside it the floor: an interpreter that imports what the data plane's server cannot do without.

    python -m bench.edges start
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.edges.lines import Line
from bench.processes import cpu_s, on_all_cores, tree
from bench.subjects.launch import free_port

STARTS: Final = 7
READY_S_MAX: Final = 1.5
_LIMIT_S: Final = 60.0
_FLOOR: Final = "import asyncio, uvloop, httptools"
_REPOSITORY: Final = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Started:
    """One start."""

    ready_s: float
    cpu_s: float


def measure(*, starts: int = STARTS) -> list[Line]:
    """The first start makes the ledger and is not counted."""
    found: list[Started] = []
    floors: list[float] = []
    with tempfile.TemporaryDirectory(prefix="metergate-start-") as folder:
        for number in range(starts + 1):
            began = time.monotonic()
            with running(Path(folder)) as pid:
                one = Started(time.monotonic() - began, cpu_s(tree(pid)))
            if number:
                found.append(one)
                floors.append(_floor_cpu_s())
    return [
        Line(
            "start",
            "ready_s",
            "second start to `ready`, s",
            tuple(one.ready_s for one in found),
            2,
            at_most=READY_S_MAX,
        ),
        Line("start", "cpu_s", "CPU of the tree until then, s", tuple(one.cpu_s for one in found), 2),
        Line("start", "floor_cpu_s", f"CPU of one `{_FLOOR}`, s", tuple(floors), 3),
    ]


@contextmanager
def running(folder: Path) -> Iterator[int]:
    """`metergate up` with the simulator on a data folder, once it has said `ready`; the supervisor's id."""
    command = [sys.executable, "-m", "admin", "up", "--data-dir", str(folder / "data")]
    for option in ("--port", "--admin-port", "--metrics-port"):
        command += [option, str(free_port())]
    log = folder / "up.log"
    with log.open("wb") as output, on_all_cores():
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=output,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(_REPOSITORY)},
        )
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if line == b"ready\n":
                break
        else:
            raise AssertionError(f"it did not start:\n{log.read_text()[-2000:]}")
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(_LIMIT_S)
        process.stdout.close()


def _floor_cpu_s() -> float:
    def spent_s() -> float:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    before_s = spent_s()
    subprocess.run([sys.executable, "-P", "-c", _FLOOR], check=True)
    return spent_s() - before_s
