"""The command line of the edges: measures what is named, prints and saves what it found."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from bench.edges.lines import Line, document, markdown
from bench.machine import machine
from bench.processes import pinning_undone, priority

MEASUREMENTS: Final = ("streams", "posting", "prompts", "keys", "workers", "floors", "start", "idle")
"""Each is a module of this package with a function `measure`."""

_RESULTS: Final = Path("bench-results")


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.edges", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(MEASUREMENTS)}; all without")
    parser.add_argument("--results", type=Path, default=_RESULTS, help="the folder for what was found")
    asked = parser.parse_args(arguments)
    if unknown := set(asked.names) - set(MEASUREMENTS):
        parser.error(f"no such measurement: {', '.join(sorted(unknown))}")
    lines: list[Line] = []
    about: dict[str, object] = {"date": datetime.now(UTC).isoformat(timespec="seconds")} | machine()
    with priority():
        for name in asked.names or MEASUREMENTS:
            started_s = time.monotonic()
            with pinning_undone():
                lines += importlib.import_module(f"bench.edges.{name}").measure()
            print(f"{name} ({time.monotonic() - started_s:.0f} s)", file=sys.stderr, flush=True)
    report = markdown(about, lines)
    print(report)
    asked.results.mkdir(parents=True, exist_ok=True)
    (asked.results / "edges.md").write_text(report)
    (asked.results / "edges.json").write_text(json.dumps(document(about, lines), indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
