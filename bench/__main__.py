"""The command line of the benchmark: reads the arguments, starts the run, writes what it found."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from bench import documented, rounds, wrk
from bench.client import BrokenStream
from bench.closed_loop import CallFailed
from bench.processes import priority
from bench.roster import SUBJECTS
from bench.scale import FULL, PHASES, QUICK
from bench.subjects.launch import SubjectFailed
from bench.tables import document, markdown

_QUICK_SUBJECTS = ["nginx", "metergate"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status: 0 done; 1 a subject failed, lost a call or is past the gate; 2 it cannot run
    here.
    """
    asked = _parser().parse_args(arguments)
    scale = QUICK if asked.quick else FULL
    streams = tuple(asked.streams or scale.paced_streams)
    scale = replace(scale, rounds=asked.rounds or scale.rounds, paced_streams=streams)
    subjects = asked.only or (_QUICK_SUBJECTS if asked.quick else list(SUBJECTS))
    phases = [phase for phase in PHASES if not asked.phase or phase in asked.phase]
    if not wrk.is_installed():
        print("bench: wrk is not installed (apt install wrk)", file=sys.stderr)
        return 2
    if asked.hold and (len(subjects) != 1 or len(phases) != 1):
        print("bench: --hold needs one --only and one --phase", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that what was started is stopped
    try:
        with priority() as raised:
            if not raised:
                _say("not allowed to raise its own priority: other work on this machine shows in the figures")
            if asked.hold:
                rounds.hold(subjects[0], phases[0], scale, _say)
                return 0
            run = rounds.run(subjects, phases, scale, _say)
    except (SubjectFailed, BrokenStream, CallFailed, wrk.CallsFailed) as failure:
        print(f"bench: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    report = markdown(run)
    print(report)
    _save(asked.save, report, json.dumps(document(run), indent=2) + "\n")
    past = documented.regressions(run, documented.ratios()) if asked.gate else []
    for line in past:
        print(f"bench: {line}", file=sys.stderr)
    return 0 if run.is_good and not past else 1


def _save(folder: Path, report: str, data: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    name = datetime.now(UTC).strftime("%Y-%m-%dT%H%M%S")
    (folder / f"{name}.md").write_text(report)
    (folder / f"{name}.json").write_text(data)
    _say(f"saved as {folder / name}.md and .json")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="metergate beside nginx and its peers, on one core, in one run."
    )
    parser.add_argument(
        "--quick", action="store_true", help="a minute: nginx and metergate, one round of shorter phases"
    )
    parser.add_argument(
        "--rounds", type=int, metavar="N", help="how often every subject is started and measured"
    )
    parser.add_argument(
        "--streams",
        type=int,
        action="append",
        metavar="N",
        help="paced streams held at once (may be repeated)",
    )
    parser.add_argument(
        "--only", action="append", choices=list(SUBJECTS), help="measure this subject only (may be repeated)"
    )
    parser.add_argument(
        "--phase", action="append", choices=PHASES, help="run this phase only (may be repeated)"
    )
    parser.add_argument(
        "--hold", action="store_true", help="repeat one phase of one subject until Ctrl-C, for a profiler"
    )
    parser.add_argument(
        "--gate", action="store_true", help="exit 1 where a ratio is more than twice the documented one"
    )
    parser.add_argument(
        "--save", type=Path, default=Path("bench-results"), metavar="DIR", help="where report and data go"
    )
    return parser


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
