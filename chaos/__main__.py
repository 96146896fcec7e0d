"""The command line of the chaos: reads the arguments, runs the seeds, prints what they found."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from chaos.finding import Finding
from chaos.report import shown
from chaos.run import run
from chaos.stage import Size
from race.__main__ import revision
from race.databases import KINDS, databases


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status: 0 every promise held, 1 one did not."""
    asked = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that what was started is stopped
    size = Size(asked.seconds, asked.clients, asked.workers, asked.replicas, not asked.no_mount)
    chosen = KINDS if asked.database == "each" else (asked.database,)
    findings: list[Finding] = []
    print(f"metergate {revision()}, {asked.seeds} seeds from {asked.first_seed} on\n", flush=True)
    try:
        with databases() as kinds:
            for seed in range(asked.first_seed, asked.first_seed + asked.seeds):
                for database in chosen:
                    finding = run(
                        kinds, database, seed, size, recovers=not asked.no_recovery, keep=asked.keep
                    )
                    findings.append(finding)
                    print(shown(finding), flush=True)
    except KeyboardInterrupt:
        return 130
    if asked.json:
        document = {"revision": revision(), "findings": [_plain(finding) for finding in findings]}
        asked.json.write_text(json.dumps(document, indent=2) + "\n")
    broken = sum(1 for finding in findings if finding.violations)
    print(f"{len(findings) - broken} of {len(findings)} runs held every promise")
    return 1 if broken else 0


def _plain(finding: Finding) -> dict[str, object]:
    """As JSON has it: keys that are pairs become one word, and counters are plain (asdict breaks them)."""
    verdict = finding.verdict
    document = asdict(finding)
    document["verdict"] |= {
        "by_ending": {" ".join(kind): counts for kind, counts in verdict.by_ending.items()},
        "behind": dict(verdict.behind),
        "without_row": dict(verdict.without_row),
    }
    return document


def _parser() -> argparse.ArgumentParser:
    size = Size()
    parser = argparse.ArgumentParser(
        prog="python -m chaos", description="Breaks everything under load, and counts every token."
    )
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="how many seeds (1)")
    parser.add_argument("--first-seed", type=int, default=1, metavar="N", help="the first of them (1)")
    parser.add_argument("--database", choices=[*KINDS, "each"], default="each", help="on which (each)")
    parser.add_argument(
        "--seconds", type=float, default=size.seconds, metavar="S", help=f"of chaos ({size.seconds:.0f})"
    )
    parser.add_argument("--clients", type=int, default=size.clients, metavar="N", help=f"({size.clients})")
    parser.add_argument(
        "--workers", type=int, default=size.workers, metavar="N", help=f"at most ({size.workers})"
    )
    parser.add_argument(
        "--replicas", type=int, default=size.replicas, metavar="N", help=f"of the engine ({size.replicas})"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every finding as JSON")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the files of red runs")
    parser.add_argument(
        "--no-mount",
        action="store_true",
        help="fill the disk by the limits of the processes, as where no file system may be mounted",
    )
    parser.add_argument(
        "--no-recovery",
        action="store_true",
        help="take the flight recorders away before each kill: shows that the chaos can be lost",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
