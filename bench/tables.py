"""Pure: a run as Markdown and as a JSON document."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from bench.figures import CHECKS, ROWS, Row, Run


def markdown(run: Run) -> str:
    """The whole report: where it ran, the figures with their ratios, the checks, the ledger, and how to read
    it.
    """
    parts = [
        "\n".join(f"- {name}: {value}" for name, value in run.about.items()),
        _table(run, ROWS),
        _table(run, CHECKS),
        "\n".join([*_ledger_lines(run), *_disturbed_lines(run)]),
        _NOTES,
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def document(run: Run) -> dict[str, Any]:
    """The run for machines: every round, and the summaries by subject and figure."""
    summaries = {
        subject: {
            row.name: asdict(summary)
            for row in (*ROWS, *CHECKS)
            if (summary := run.summary(subject, row.name)) is not None
        }
        for subject in run.subjects()
    }
    return {
        "about": run.about,
        "baseline": run.baseline,
        "summaries": summaries,
        "rounds": [asdict(each) for each in run.rounds],
    }


_NOTES = """\
Medians over rounds, with the lowest and highest in brackets; ratios are of medians. CPU is user and system
time of the subject's whole process tree; a paced chunk's is that of the steady window between the last
opening and the first end. Every subject reads the same bytes from the engine (usage in each event); one that
strips usage writes fewer. Absolute times belong to this machine at this hour; only the ratios travel.
"""


def _table(run: Run, rows: tuple[Row, ...]) -> str:
    subjects = run.subjects()
    lines = ["| | " + " | ".join(subjects) + " |", "|---|" + "---:|" * len(subjects)]
    for row in rows:
        cells = [_cell(run, subject, row) for subject in subjects]
        if any(cells):
            lines.append(f"| {row.title} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(run: Run, subject: str, row: Row) -> str:
    summary = run.summary(subject, row.name)
    if summary is None:
        return ""
    shown = f"{summary.median:.{row.decimals}f}"
    if summary.lowest != summary.highest:
        shown += f" [{summary.lowest:.{row.decimals}f}..{summary.highest:.{row.decimals}f}]"
    if row.ratio and summary.ratio is not None and subject != run.baseline:
        shown += f" **{summary.ratio:.2f}x**"
    return shown


def _ledger_lines(run: Run) -> list[str]:
    lines = []
    for each in run.rounds:
        if each.recorded is not None:
            verdict = (
                "every call is there" if each.recorded == each.calls else "**CALLS MISSING OR TOO MANY**"
            )
            counted = f"{each.recorded} rows for {each.calls} calls"
            lines.append(f"- ledger of {each.subject}, round {each.number}: {counted}: {verdict}")
    return lines


def _disturbed_lines(run: Run) -> list[str]:
    return [
        f"- **{each.subject}, round {each.number}: the machine was too busy; paced figures are too low**"
        for each in run.rounds
        if each.disturbed
    ]
