"""What stands in the way: the least that a Python proxy costs, measured exactly as metergate is.

Unstreamed requests and paced chunks as `make bench` has them, and open streams of a chunk a second for their
memory, put on nginx, on three programs that only pass calls on (bench/edges/floor_proxy.py), and on
metergate, each in the same rounds. Each figure is also told as a ratio to nginx: where a floor is above an
aim, a program of these parts misses it that does no work at all.

    python -m bench.edges floors
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from bench.edges.lines import Line
from bench.edges.slow_engine import raise_descriptor_limit
from bench.edges.streams import measure_subject, slow_engine
from bench.engine_process import Engine
from bench.phases import Phases
from bench.processes import Cores, choose_cores, pin
from bench.running import every_call_recorded, running
from bench.scale import Scale
from bench.subjects import Subject
from bench.subjects.launched import Launched
from bench.subjects.metergate import Metergate
from bench.subjects.nginx import Nginx

ROUNDS: Final = 2
STREAMS: Final = 512
STEPS: Final = (f"paced_{STREAMS}", "steady", "unary")
HELD: Final = 2_000
"""Streams whose memory is read: of a fresh start, since heap that was freed before would hide some of it."""

_REPOSITORY: Final = Path(__file__).resolve().parents[2]


class _Floor(Launched):
    """One mode of floor_proxy.py as a subject."""

    mode = ""
    name = ""
    does = "passes calls on, and does nothing else"

    @staticmethod
    def missing() -> str | None:
        return None

    def start(self) -> None:
        port = self.engine_url.rpartition(":")[2]
        command = [sys.executable, "-m", "bench.edges.floor_proxy", self.mode, port]
        environ = {"PYTHONPATH": str(_REPOSITORY)}
        self._launch(command, self._is_up, log=self.folder / "floor.log", within_s=20, environ=environ)

    def _is_up(self) -> bool:
        log = self.folder / "floor.log"
        said = log.read_text() if log.exists() else ""
        if said.startswith("port ") and said.endswith("\n"):
            self.url = f"http://127.0.0.1:{said.split()[1]}"
        return bool(self.url)


class _Bytes(_Floor):
    mode, name = "bytes", "bytes, unread (uvloop)"


class _Parsed(_Floor):
    mode, name = "parsed", "HTTP read and written anew (uvloop, httptools)"


class _Asgi(_Floor):
    mode, name = "asgi", "the same behind ASGI (uvicorn)"


SUBJECTS: Final[tuple[type[Subject], ...]] = (Nginx, _Bytes, _Parsed, _Asgi, Metergate)

FIGURES: Final = (
    ("cpu_us_per_steady_request", "CPU per unstreamed request at one rate, us", 4.0),
    ("cpu_us_per_request", "CPU per unstreamed request at full load, us", 4.0),
    (f"paced_{STREAMS}_cpu_us_per_chunk", f"CPU per paced chunk, {STREAMS} streams, us", 1.5),
    ("memory_kib", f"memory per open stream, {HELD:,} streams, KiB", None),
)
"""Name, title, and the ratio to nginx that metergate aims at."""
MEMORY_KIB_MAX: Final = 16


def measure(*, rounds: int = ROUNDS) -> list[Line]:
    """Every figure of every subject, and its ratio to nginx's in the same round."""
    cores = choose_cores()
    pin(cores.load)
    scale = Scale(rounds=rounds, paced_streams=(STREAMS,), unary_s=3.0, paced_opens_within_s=30.0)
    found: dict[str, list[dict[str, float]]] = {make.name: [] for make in SUBJECTS}
    raise_descriptor_limit()
    engine = Engine(cores.engine)
    try:
        for _ in range(rounds):
            for make in SUBJECTS:
                with running(make, engine, cores) as (subject, folder):
                    at_work = Phases(subject, engine, cores, scale, folder)
                    at_work.warm_up()
                    figures: dict[str, float] = {}
                    with every_call_recorded(subject, engine):
                        for step in STEPS:
                            figures |= at_work.run(step)
                found[make.name].append(figures | {"memory_kib": _memory_kib(make, cores)})
    finally:
        engine.stop()
    return [line for make in SUBJECTS for line in _lines(make.name, found[make.name], found[Nginx.name])]


def _memory_kib(make: type[Subject], cores: Cores) -> float:
    noted: dict[str, float] = {}
    with slow_engine(cores.engine) as (url, pid):
        measure_subject(noted.__setitem__, make, url, pid, cores, HELD, 1.0)
    return noted[f"{make.name}_memory_kib"]


def _lines(name: str, figures: list[dict[str, float]], base: list[dict[str, float]]) -> list[Line]:
    is_ours = name == Metergate.name
    lines = []
    for figure, title, aim in FIGURES:
        values = tuple(each[figure] for each in figures)
        at_most = MEMORY_KIB_MAX if is_ours and aim is None else None
        lines.append(Line("floors", f"{name}: {figure}", f"{name}: {title}", values, 1, at_most=at_most))
        if name != Nginx.name:
            ratios = tuple(value / of[figure] for value, of in zip(values, base, strict=True))
            bound = aim if is_ours else None
            told = f"{name}: the same, times nginx"
            lines.append(Line("floors", f"{name}: {figure}_ratio", told, ratios, 2, at_most=bound))
    return lines
