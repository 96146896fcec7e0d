"""The run: the engine once, then round after round every subject in turn, each started fresh, measured,
checked and stopped.

Rules: subjects alternate, so that an hour's drift of the machine falls on all alike. One engine serves the
whole run. Must not know what the figures mean.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.figures import Round, Run
from bench.meter import Meter
from bench.phases import Phases
from bench.processes import Cores, choose_cores, on_core, pin, prefer_sessions, tree
from bench.scale import Scale
from bench.subjects import BASELINE, SUBJECTS, Subject

_REPOSITORY = Path(__file__).resolve().parents[1]
Say = Callable[[str], None]


class Engine:
    """The benchmark's engine as a process of its own."""

    def __init__(self, core: int) -> None:
        command = [sys.executable, "-m", "bench.engine", "--port", "0"]
        with on_core(core):
            self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=_REPOSITORY)
        assert self._process.stdout
        said = self._process.stdout.readline().split()
        self.url = f"http://127.0.0.1:{said[1]}"
        self.pid = self._process.pid

    def calls(self) -> int:
        """How many chat calls it has answered."""
        with urllib.request.urlopen(f"{self.url}/bench/stats") as answer:
            return sum(json.loads(answer.read())["calls"].values())

    def stop(self) -> str:
        """Ends it; returns what it says of its own CPU time."""
        self._process.terminate()
        return self._process.communicate(timeout=10)[0].strip()


def run(subjects: Sequence[str], phases: Sequence[str], scale: Scale, say: Say) -> Run:
    """Measures `subjects` by name and returns the whole run; what cannot be measured here is said and left
    out.
    """
    cores = choose_cores()
    pin(cores.load)
    makes = {name: SUBJECTS[name] for name in subjects if _can_run(SUBJECTS[name], say)}
    result = Run(about=_about(cores, scale), baseline=BASELINE)
    engine = Engine(cores.engine)
    try:
        for number in range(1, scale.rounds + 1):
            for name, make in makes.items():
                started_s = time.monotonic()
                result.rounds.append(_round(make, number, phases, scale, engine, cores))
                say(f"round {number} of {scale.rounds}: {name} ({time.monotonic() - started_s:.0f} s)")
    finally:
        result.about["engine"] = engine.stop().removeprefix("engine: ")
    result.about["load average after"] = _load_average()
    return result


def hold(name: str, phase: str, scale: Scale, say: Say) -> None:
    """Runs one phase of one subject again and again until interrupted, for a profiler to be attached to the
    processes it names.
    """
    cores = choose_cores()
    pin(cores.load)
    engine = Engine(cores.engine)
    try:
        with _started(SUBJECTS[name], engine, cores) as (subject, folder):
            meter = Meter(subject.pid, engine.pid, cores.subject)
            at_work = Phases(subject, engine.url, meter, scale, folder)
            at_work.warm_up()
            say(f"{name} runs as process {subject.pid} and its children, in {folder}; Ctrl-C ends")
            while True:
                figures = at_work.run(phase)
                say("  ".join(f"{figure} {value:.2f}" for figure, value in figures.items()))
    except KeyboardInterrupt:
        pass
    finally:
        say(engine.stop())


def _round(
    make: type[Subject], number: int, phases: Sequence[str], scale: Scale, engine: Engine, cores: Cores
) -> Round:
    calls_before = engine.calls()
    with _started(make, engine, cores) as (subject, folder):
        at_work = Phases(subject, engine.url, Meter(subject.pid, engine.pid, cores.subject), scale, folder)
        at_work.warm_up()
        figures: dict[str, float] = {}
        for phase in phases:
            figures |= at_work.run(phase)
        recorded = subject.recorded_calls()
        calls = engine.calls() - calls_before - at_work.direct_calls
        return Round(subject.name, subject.version, number, figures, calls, recorded)


@contextmanager
def _started(make: type[Subject], engine: Engine, cores: Cores) -> Iterator[tuple[Subject, Path]]:
    with tempfile.TemporaryDirectory(prefix="metergate-bench-") as folder:
        subject = make(engine.url, Path(folder), cores.subject)
        try:
            subject.start()
            prefer_sessions(tree(subject.pid))
            yield subject, Path(folder)
        finally:
            subject.stop()


def _can_run(make: type[Subject], say: Say) -> bool:
    why_not = make.missing()
    if why_not:
        say(why_not)
    return why_not is None


def _about(cores: Cores, scale: Scale) -> dict[str, Any]:
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{_cpu_model()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "cores": f"subject {cores.subject}, engine {cores.engine}, load {cores.load}"
        + (" (ONE CORE FOR ALL: expect nonsense)" if cores.shared else ""),
        "scale": ", ".join(f"{name} {value}" for name, value in asdict(scale).items()),
        "load average before": _load_average(),
    }


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _load_average() -> str:
    return " ".join(f"{value:.2f}" for value in os.getloadavg())
