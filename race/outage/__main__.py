"""`python -m race.outage [--calls N]`: the exit status is 1 where a promise did not hold."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from race.finding import Finding
from race.outage.hour import Hour
from race.outage.worker import PER_SECOND
from race.postgresql import server as a_server

CALLS = 720_000


def outage(calls: int, *, is_shown: bool = False) -> Finding:
    """One outage of so many calls."""
    finding = Finding("outage", 0, "postgresql")
    with (
        a_server() as server,
        tempfile.TemporaryDirectory(prefix="outage", ignore_cleanup_errors=True) as folder,
    ):
        Hour(server, Path(folder), calls, finding).run(print if is_shown else lambda line: None)
    return finding


def main() -> int:
    """Runs it, and prints what was found."""
    parser = argparse.ArgumentParser(prog="python -m race.outage", description=__doc__)
    parser.add_argument("--calls", type=int, default=CALLS, help="settled calls of the outage (720,000)")
    calls = parser.parse_args().calls
    print(
        f"an outage of {calls / PER_SECOND / 60:.1f} minutes at {PER_SECOND} calls a second; its clock is"
        " turned by the calls, as fast as this machine settles them",
        flush=True,
    )
    finding = outage(calls, is_shown=True)
    for name, figure in finding.figures.items():
        print(f"  {name:<18} {figure}")
    for violation in finding.violations:
        print(f"BROKEN: {violation}")
    print("every promise held" if not finding.violations else "RED")
    return 1 if finding.violations else 0


if __name__ == "__main__":
    sys.exit(main())
