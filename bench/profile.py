"""`make profile`: one phase on a started metergate under a sampling profiler, as a table and a flame graph.

Rules: py-spy starts what it samples, so that it needs no rights that its user lacks. A sample is of a thread
that holds the interpreter: waiting is left out, and so is what SQLite does in C meanwhile. Samples of imports
are left out. Must not know how figures are made: those that it says are py-spy's, too.

    python -m bench.profile --phase unary
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from bench import stacks
from bench.client import BrokenStream
from bench.engine_process import Engine
from bench.phases import Phases
from bench.processes import choose_cores, on_core, pin, tree
from bench.scale import FULL, PHASES, phase_steps
from bench.subjects.launch import SubjectFailed
from bench.subjects.metergate import Metergate
from bench.wrk import CallsFailed

_SAMPLES_PER_S = 100
_START = ("importlib",)


class Profiled(Metergate):
    """metergate, started by the profiler; `raw` is where its stacks go."""

    raw: Path

    def _launcher(self) -> list[str]:
        program = _program()
        assert program
        how = [
            "--gil",
            "--nonblocking",
            "--format",
            "raw",
            "--rate",
            str(_SAMPLES_PER_S),
            "--function",
            "--subprocesses",
        ]
        return [program, "record", *how, "--output", str(self.raw), "--"]

    def stop(self) -> None:
        """Ends metergate alone: the profiler then writes, and ends by itself."""
        if self._process is None:
            return
        for pid in tree(self._process.pid)[1:2]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(60)
        super().stop()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.profile", description="Where the time goes.")
    parser.add_argument("--phase", choices=PHASES, default="unary")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long the phase is repeated")
    parser.add_argument("--streams", type=int, default=512, help="paced streams")
    parser.add_argument("--save", type=Path, default=Path("bench-results"), metavar="DIR")
    asked = parser.parse_args()
    if _program() is None:
        print("bench: py-spy is not installed (make check installs it)", file=sys.stderr)
        return 2
    asked.save.mkdir(parents=True, exist_ok=True)
    name = asked.save / f"profile-{asked.phase}-{datetime.now(UTC):%Y-%m-%dT%H%M%S}"
    Profiled.raw = name.with_suffix(".stacks").absolute()
    try:
        _run(asked)
        lines = Profiled.raw.read_text().splitlines()
    except (SubjectFailed, FileNotFoundError) as failure:
        print(f"bench: py-spy could not profile metergate here: {failure}", file=sys.stderr)
        return 1
    found = stacks.read(lines, without=_START)
    title = f"metergate, {asked.phase}, {datetime.now(UTC):%Y-%m-%d}"
    said = f"# {title}\n\n{stacks.table(found)}"
    name.with_suffix(".md").write_text(said)
    name.with_suffix(".svg").write_text(stacks.flame_graph(found, title))
    print(said)
    print(f"saved as {name}.md, .svg and .stacks", file=sys.stderr)
    return 0 if found else 1


def _run(asked: argparse.Namespace) -> None:
    cores = choose_cores()
    pin(cores.load)
    engine = Engine(cores.engine)
    scale = replace(FULL, paced_streams=(asked.streams,))
    try:
        with tempfile.TemporaryDirectory(prefix="metergate-profile-") as folder, on_core(cores.load):
            subject = Profiled(engine.url, Path(folder), cores.subject)
            try:
                subject.start()
                at_work = Phases(subject, engine, cores, scale, Path(folder))
                until_s = time.monotonic() + asked.seconds
                while time.monotonic() < until_s:
                    for step in phase_steps([asked.phase], scale):
                        _try(at_work, step)
            finally:
                subject.stop()
    finally:
        engine.stop()


def _try(at_work: Phases, step: str) -> None:
    """Under a profiler a call may be late, which is no reason to look at nothing."""
    try:
        at_work.run(step)
    except (BrokenStream, CallsFailed) as failure:
        print(f"bench: {step}: {failure}", file=sys.stderr)


def _program() -> str | None:
    beside = Path(sys.executable).parent / "py-spy"
    return str(beside) if beside.exists() else shutil.which("py-spy")


if __name__ == "__main__":
    sys.exit(main())
