"""The command line of the race: reads the arguments, runs the scenarios, prints what they found."""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from race.databases import KINDS, Databases, databases
from race.finding import Finding, table
from race.processes import ROOT
from race.scenarios import SCENARIOS
from race.stage import stage


def race(
    kinds: Databases, name: str, seed: int, database: str, *, seconds: float | None, sets_limits: bool
) -> Finding:
    """One scenario with one seed on one database."""
    finding = Finding(name, seed, database)
    scenario = SCENARIOS[name]
    with kinds.fresh(database) as (folder, url), stage(folder, url, sets_limits=sets_limits) as running:
        scenario.run(running, finding, seed, seconds or scenario.seconds)
    return finding


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status: 0 every promise held, 1 one did not."""
    asked = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that what was started is stopped
    names = asked.scenario or list(SCENARIOS)
    findings: list[Finding] = []
    print(f"metergate {revision()}, {asked.seeds} seeds from {asked.first_seed} on\n", flush=True)
    try:
        with databases() as kinds:
            for name in names:
                found = _all_seeds(kinds, name, asked)
                findings += found
                print(table(found), flush=True)
    except KeyboardInterrupt:
        return 130
    if asked.json:
        document = {"revision": revision(), "findings": [asdict(finding) for finding in findings]}
        asked.json.write_text(json.dumps(document, indent=2) + "\n")
    broken = sum(1 for finding in findings if finding.violations)
    print(f"{len(findings) - broken} of {len(findings)} races held every promise")
    return 1 if broken else 0


def _all_seeds(kinds: Databases, name: str, asked: argparse.Namespace) -> list[Finding]:
    """One scenario with every seed that it runs with; each seed on one database, in turn, or as asked."""
    found = []
    every = 1 if asked.scenario else SCENARIOS[name].every
    for number, seed in enumerate(range(asked.first_seed, asked.first_seed + asked.seeds, every)):
        chosen = KINDS if asked.database == "each" else (asked.database or KINDS[number % len(KINDS)],)
        for database in chosen:
            began_s = time.monotonic()
            finding = race(
                kinds, name, seed, database, seconds=asked.seconds, sets_limits=not asked.no_limits
            )
            found.append(finding)
            verdict = "; ".join(finding.violations) or "green"
            took_s = time.monotonic() - began_s
            print(f"{name}, seed {seed}, {database}, {took_s:.0f} s: {verdict}", file=sys.stderr, flush=True)
    return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m race", description="Races clients against hard limits, and counts what got through."
    )
    parser.add_argument(
        "--scenario", action="append", choices=list(SCENARIOS), help="run this one only (may be repeated)"
    )
    parser.add_argument("--seeds", type=int, default=20, metavar="N", help="how many seeds (20)")
    parser.add_argument("--first-seed", type=int, default=1, metavar="N", help="the first of them (1)")
    parser.add_argument("--database", choices=[*KINDS, "each"], help="instead of one after the other in turn")
    parser.add_argument("--seconds", type=float, metavar="S", help="how long each load runs, at most")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every finding as JSON")
    parser.add_argument(
        "--no-limits", action="store_true", help="set no limit at all: shows that a race can be lost"
    )
    return parser


def revision() -> str:
    """What of metergate this is, as git names it."""
    said = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, cwd=ROOT, check=False
    )
    return said.stdout.strip() or "unknown"


if __name__ == "__main__":
    sys.exit(main())
