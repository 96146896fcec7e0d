"""Pure: a run as Markdown and as a JSON document."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from bench.figures import KEPT_PACE_SHARE, Run
from bench.rows import Row, checks, rows


def markdown(run: Run) -> str:
    """The whole report: where it ran, the figures with their ratios, the checks, the ledger, and how to read
    it.
    """
    parts = [
        "\n".join(f"- {name}: {value}" for name, value in run.about.items()),
        _does(run),
        table(run, rows(run.paced_streams())),
        table(run, checks(run.paced_streams())),
        "\n".join([*_failure_lines(run), *_ledger_lines(run), *_disturbed_lines(run)]),
        _NOTES,
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def document(run: Run) -> dict[str, Any]:
    """The run for machines: every round, and the summaries by subject and figure."""
    summaries = {
        subject: {
            row.name: asdict(summary)
            for row in (*rows(run.paced_streams()), *checks(run.paced_streams()))
            if (summary := run.summary(subject, row.name)) is not None
        }
        for subject in run.subjects()
    }
    return {
        "about": run.about,
        "baseline": run.baseline,
        "does": run.does,
        "summaries": summaries,
        "rounds": [asdict(each) for each in run.rounds],
    }


_NOTES = """\
Medians over rounds, with the lowest and highest in brackets; ratios are of medians. CPU is user and system
time of the subject's whole process tree, posting included; a database server's is shown apart. A paced
chunk's is that of the steady window in which all streams are open; "% kept" is the share of the engine's
20 ms steps that arrived: below 97% the subject, or the load beside it, is saturated, and what waited is
handled together, which makes a chunk look cheaper than it is. Every subject reads the same bytes from the
engine (usage in each event); one that strips usage writes fewer. Absolute times belong to this machine at
this hour; only the ratios travel.
"""


def table(run: Run, rows: tuple[Row, ...]) -> str:
    """One table: a line a row, a column a subject."""
    subjects = run.subjects()
    lines = ["| | " + " | ".join(subjects) + " |", "|---|" + "---:|" * len(subjects)]
    for row in rows:
        cells = [_cell(run, subject, row) for subject in subjects]
        if any(cells):
            lines.append(f"| {row.title} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(run: Run, subject: str, row: Row) -> str:
    failed = run.failed(subject, row.step)
    summary = run.summary(subject, row.name)
    if summary is None:
        is_measured = any(run.summary(each, row.name) for each in run.subjects())
        return "failed" if failed and is_measured and not row.name.startswith("database") else ""
    shown = f"{summary.median:.{row.decimals}f}"
    if summary.lowest != summary.highest:
        shown += f" [{summary.lowest:.{row.decimals}f}..{summary.highest:.{row.decimals}f}]"
    if row.ratio and summary.ratio is not None and subject != run.baseline:
        shown += f" **{summary.ratio:.2f}x**"
    kept = run.summary(subject, f"{row.step}_kept_share")
    if row.ratio and kept is not None and kept.median < KEPT_PACE_SHARE:
        shown += f" ({kept.median:.0%} kept)"
    return shown + (f" (failed {failed} times)" if failed else "")


def _does(run: Run) -> str:
    return "\n".join(f"- {subject}: {run.does[subject]}" for subject in run.subjects() if subject in run.does)


def _failure_lines(run: Run) -> list[str]:
    return [
        f"- **{each.subject}, round {each.number}, {step}: failed**: {why}"
        for each in run.rounds
        for step, why in each.failures.items()
    ]


def _ledger_lines(run: Run) -> list[str]:
    lines = []
    for each in run.rounds:
        if each.recorded is not None:
            there = "every call and token is there"
            verdict = there if each.is_recorded else "**CALLS OR TOKENS MISSING, OR TOO MANY**"
            counted = f"{each.recorded.calls} rows for {each.passed.calls} calls"
            if each.unanswered:
                counted += f" ({each.unanswered} more were given up before their first byte)"
            counted += f", {each.recorded.completion_tokens} tokens of {each.passed.completion_tokens}"
            lines.append(f"- ledger of {each.subject}, round {each.number}: {counted}: {verdict}")
    return lines


def _disturbed_lines(run: Run) -> list[str]:
    lines = []
    for each in run.rounds:
        where = f"{each.subject}, round {each.number}"
        for streams in run.paced_streams():
            step = f"paced_{streams}"
            if each.load_bound(step):
                lines.append(f"- {where}: engine and load were the limit at {streams:,} paced streams")
            elif each.disturbed(streams):
                lines.append(
                    f"- **{where}: the machine was too busy; figures at {streams:,} streams are too low**"
                )
        if each.load_bound("unary"):
            lines.append(f"- {where}: engine and load were the limit at full load")
    return lines
