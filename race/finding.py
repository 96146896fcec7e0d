"""Pure: what one race found: its figures, and what it found broken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

Figure = int | float | str


@dataclass(slots=True)
class Finding:
    """One scenario with one seed on one database. `figures` in the order in which they are shown."""

    scenario: str
    seed: int
    database: str
    figures: dict[str, Figure] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)

    def hold(self, promise: bool, broken: str) -> None:
        """Notes a violation unless the promise holds."""
        if not promise:
            self.violations.append(broken)


def table(findings: Sequence[Finding]) -> str:
    """The findings of one scenario, one row each, and their violations under them."""
    names = list(dict.fromkeys(name for finding in findings for name in finding.figures))
    rows = [["seed", "database", *names, "verdict"]]
    for finding in findings:
        cells = [_shown(finding.figures[name]) if name in finding.figures else "" for name in names]
        verdict = "RED" if finding.violations else "green"
        rows.append([str(finding.seed), finding.database, *cells, verdict])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    lines += [
        f"  seed {finding.seed}, {finding.database}: {violation}"
        for finding in findings
        for violation in finding.violations
    ]
    return "\n".join([f"## {findings[0].scenario}", "", *lines, ""])


def _shown(figure: Figure) -> str:
    if isinstance(figure, float):
        return f"{figure:.4f}" if abs(figure) < 10 else f"{figure:.1f}"
    return str(figure)
