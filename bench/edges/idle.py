"""What metergate costs while nobody calls: CPU and memory of each process of `metergate up`.

One worker on SQLite, the simulator as its engine (told apart: it stands for an engine). After SETTLE_S, when
what is done once after a start is done, the tree is left alone for WATCH_S.

    python -m bench.edges idle
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Final

from bench.edges.lines import Line
from bench.edges.start import running
from bench.processes import cpu_s, memory_bytes, tree

ROUNDS: Final = 2
SETTLE_S: Final = 20.0
WATCH_S: Final = 40.0
PERCENT_MAX: Final = 0.5
MIB_MAX: Final = 80.0
SIMULATOR: Final = "proxy.simulator"
_WORKER: Final = "proxy.worker"


def measure(*, rounds: int = ROUNDS, settle_s: float = SETTLE_S, watch_s: float = WATCH_S) -> list[Line]:
    """CPU in percent of a core, memory in MiB (PSS and, of the worker, RSS)."""
    found: dict[str, list[tuple[float, float]]] = {}
    whole: list[float] = []
    resident: list[float] = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory(prefix="metergate-idle-") as folder, running(Path(folder)) as pid:
            time.sleep(settle_s)
            names = {each: _name(each) for each in tree(pid)}
            before = {each: cpu_s((each,)) for each in names}
            time.sleep(watch_s)
            percents = {each: 100 * (cpu_s((each,)) - before[each]) / watch_s for each in names}
            for each, name in names.items():
                found.setdefault(name, []).append((percents[each], memory_bytes((each,)) / 2**20))
                if name == _WORKER:
                    resident.append(_resident_mib(each))
            whole.append(sum(percents[each] for each, name in names.items() if name != SIMULATOR))
    lines = [
        Line("idle", "cpu_percent", "CPU of the tree, % of a core", tuple(whole), 2, at_most=PERCENT_MAX),
        Line("idle", "worker_mib", "memory of the worker, MiB", tuple(resident), 1, at_most=MIB_MAX),
    ]
    for name, values in sorted(found.items()):
        lines += [
            Line("idle", f"{name}_percent", f"CPU of {name}, %", tuple(cpu for cpu, _ in values), 2),
            Line("idle", f"{name}_mib", f"memory of {name} (PSS), MiB", tuple(mib for _, mib in values), 1),
        ]
    return lines


def _name(pid: int) -> str:
    """The module that a process runs; the supervisor is `admin`."""
    words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    return words[words.index("-m") + 1] if "-m" in words else words[0]


def _resident_mib(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024
