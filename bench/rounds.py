"""The run: the engine once, then round after round every subject in turn, each started fresh, measured,
checked and stopped.

Rules: subjects alternate, so that an hour's drift of the machine falls on all alike. One engine serves the
whole run. What fails is kept with its reason, and the run goes on. Must not know what the figures mean.
"""

from __future__ import annotations

import os
import platform
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.client import BrokenStream
from bench.closed_loop import CallFailed
from bench.engine_process import Engine
from bench.figures import END, START, Recorded, Round, Run
from bench.phases import Phases
from bench.processes import Cores, choose_cores, pin
from bench.roster import BASELINE, SUBJECTS
from bench.running import running
from bench.scale import Scale, phase_steps
from bench.subjects import Subject
from bench.subjects.launch import SubjectFailed
from bench.wrk import CallsFailed

Say = Callable[[str], None]
_FAILURES = (BrokenStream, CallFailed, CallsFailed, SubjectFailed, OSError, subprocess.SubprocessError)


def run(subjects: Sequence[str], phases: Sequence[str], scale: Scale, say: Say) -> Run:
    """Measures `subjects` by name and returns the whole run; what cannot be measured here is said and left
    out.
    """
    cores = choose_cores()
    pin(cores.load)
    makes = {name: SUBJECTS[name] for name in subjects if _can_run(SUBJECTS[name], say)}
    does = {name: make.does for name, make in makes.items()}
    result = Run(about=_about(cores, scale), baseline=BASELINE, does=does)
    engine = Engine(cores.engine)
    try:
        for number in range(1, scale.rounds + 1):
            for name, make in makes.items():
                started_s = time.monotonic()
                done = _round(make, number, phases, scale, engine, cores)
                result.rounds.append(done)
                say(f"round {number} of {scale.rounds}: {name} ({time.monotonic() - started_s:.0f} s)")
                for step, why in done.failures.items():
                    say(f"  {step} failed: {why}")
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
        with running(SUBJECTS[name], engine, cores) as (subject, folder):
            at_work = Phases(subject, engine, cores, scale, folder)
            at_work.warm_up()
            say(f"{name} runs as process {subject.pid} and its children, in {folder}; Ctrl-C ends")
            while True:
                for step in phase_steps([phase], scale):
                    figures = at_work.run(step)
                    say("  ".join(f"{figure} {value:.2f}" for figure, value in figures.items()))
    except KeyboardInterrupt:
        pass
    finally:
        say(engine.stop())


def _round(
    make: type[Subject], number: int, phases: Sequence[str], scale: Scale, engine: Engine, cores: Cores
) -> Round:
    before = engine.settled()
    figures: dict[str, float] = {}
    failures: dict[str, str] = {}
    direct, recorded, version = Recorded(0, 0), None, ""
    left = phase_steps(phases, scale)
    try:
        while left:
            with running(make, engine, cores) as (subject, folder):
                version = subject.version
                at_work = Phases(subject, engine, cores, scale, folder)
                at_work.warm_up()
                left = measure(at_work, left, figures, failures)
                recorded = subject.recorded()
                direct = direct.plus(at_work.direct)
    except _FAILURES as failure:
        failures[END if figures or failures else START] = _in_a_line(failure)
    after = engine.settled()
    passed = after.passed.minus(before.passed).minus(direct)
    unanswered = after.unanswered - before.unanswered
    return Round(make.name, version, number, figures, passed, recorded, failures, unanswered)


def measure(
    at_work: Phases, steps: list[str], figures: dict[str, float], failures: dict[str, str]
) -> list[str]:
    """Runs the steps; returns those that are left for a fresh start, where one without a ledger has failed:
    what it still has in hand may keep it busy for minutes. More streams than it failed at are not tried.
    """
    for number, step in enumerate(steps):
        try:
            figures |= at_work.run(step)
        except _FAILURES as failure:
            failures[step] = _in_a_line(failure)
            if at_work.keeps_ledger:
                at_work.rest()
                continue
            more = [
                each for each in steps[number + 1 :] if step.startswith("paced") and each.startswith("paced")
            ]
            failures |= dict.fromkeys(more, f"not tried after {step} failed")
            return [each for each in steps[number + 1 :] if each not in more]
    return []


def _in_a_line(failure: BaseException) -> str:
    said = " ".join((str(failure) or repr(failure)).split())
    return said if len(said) < 600 else f"{said[:200]} ... {said[-350:]}"


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
