"""The ratios that docs/performance.md tells, in one small file, and the gate against gross regressions.

Rules: only CPU figures are gated: they are ratios of one run, and survive a busy machine. A ratio may be
twice the documented one: less says nothing on a machine with others on it. The page's table and the file are
written together, by the same command. Must not know how a figure is measured.

    python -m bench.documented bench-results/NAME.json     a run becomes the documented one
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.figures import Recorded, Round, Run
from bench.rows import Row, rows
from bench.tables import table

_FILE = Path(__file__).resolve().parent / "documented.json"
PAGE = Path(__file__).resolve().parents[1] / "docs" / "performance.md"
_GATED = ("metergate", "metergate-postgresql")
_FACTOR = 2.0
_MARKS = ("<!-- the table: made by python -m bench.documented -->", "<!-- the end of the table -->")

Ratios = Mapping[str, Mapping[str, float]]


def ratios() -> Ratios:
    """What is documented: by subject and figure."""
    read: Ratios = json.loads(_FILE.read_text())
    return read


def ratios_of(run: Run) -> dict[str, dict[str, float]]:
    """The ratios of a run that the gate is about, as the table rounds them."""
    return {
        subject: {
            row.name: round(summary.ratio, 2)
            for row in gated_rows(run)
            if (summary := run.summary(subject, row.name)) is not None and summary.ratio is not None
        }
        for subject in run.subjects()
        if subject in _GATED
    }


def gated_rows(run: Run) -> list[Row]:
    """CPU time of requests, bursts and chunks."""
    return [row for row in rows(run.paced_streams()) if "cpu_us" in row.name and "database" not in row.name]


def regressions(run: Run, documented: Ratios) -> list[str]:
    """What is past the gate, a line each; a run without the baseline has nothing to say."""
    return [
        f"{subject}: {figure} is {ratio:.2f} times {run.baseline}'s; told: {documented[subject][figure]:.2f}"
        for subject, measured in ratios_of(run).items()
        for figure, ratio in measured.items()
        if figure in documented.get(subject, {}) and ratio > _FACTOR * documented[subject][figure]
    ]


def read(document: Mapping[str, Any]) -> Run:
    """A run out of what tables.document made of it."""
    made = []
    for each in document["rounds"]:
        recorded = Recorded(**each["recorded"]) if each["recorded"] else None
        made.append(Round(**{**each, "passed": Recorded(**each["passed"]), "recorded": recorded}))
    return Run(document["about"], document["baseline"], made, document["does"])


def page_with(page: str, run: Run) -> str:
    """The page with the run's table between its two marks."""
    about = [f"{name}: {run.about[name]}" for name in ("date", "machine", "python") if name in run.about]
    versions = dict.fromkeys(f"{each.subject} {each.version}" for each in run.rounds)
    does = [f"- {subject}: {run.does[subject]}" for subject in run.subjects() if subject in run.does]
    shown = "\n\n".join(
        ["; ".join([*about, *versions]) + ".", table(run, rows(run.paced_streams())), "\n".join(does)]
    )
    start, end = map(re.escape, _MARKS)
    inside = f"{_MARKS[0]}\n\n{shown}\n\n{_MARKS[1]}"
    changed, times = re.subn(f"{start}.*?{end}", lambda _: inside, page, flags=re.DOTALL)
    assert times == 1, "docs/performance.md has lost the marks of its table"
    return changed


def main() -> None:
    run = read(json.loads(Path(sys.argv[1]).read_text()))
    PAGE.write_text(page_with(PAGE.read_text(), run))
    _FILE.write_text(json.dumps(ratios_of(run), indent=2) + "\n")


if __name__ == "__main__":
    main()
