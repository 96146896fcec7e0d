"""Pure: what a measurement found, one line a figure, and whether it is what was aimed at."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import Any


@dataclass(frozen=True, slots=True)
class Line:
    """One figure, each value a round's. At most one of `at_most` and `at_least` is its aim."""

    measurement: str
    name: str
    title: str
    values: tuple[float, ...]
    decimals: int = 0
    at_most: float | None = None
    at_least: float | None = None

    @property
    def median(self) -> float:
        return median(self.values)

    @property
    def is_met(self) -> bool | None:
        """Whether the median is what was aimed at; None where nothing was."""
        if self.at_most is not None:
            return self.median <= self.at_most
        return self.median >= self.at_least if self.at_least is not None else None


def markdown(about: dict[str, object], lines: list[Line]) -> str:
    """The report."""
    parts = ["\n".join(f"- {name}: {value}" for name, value in about.items())]
    parts.append("\n".join(["| | figure | aim | |", "|---|---:|---:|---|", *map(_row, lines)]))
    return "\n\n".join(parts) + "\n"


def document(about: dict[str, object], lines: list[Line]) -> dict[str, Any]:
    """The same for machines, every round in it."""
    return {
        "about": about,
        "lines": [
            {
                "measurement": line.measurement,
                "name": line.name,
                "title": line.title,
                "median": line.median,
                "values": list(line.values),
                "at_most": line.at_most,
                "at_least": line.at_least,
                "is_met": line.is_met,
            }
            for line in lines
        ],
    }


def _row(line: Line) -> str:
    def shown(value: float) -> str:
        return f"{value:,.{line.decimals}f}"

    figure = shown(line.median)
    if min(line.values) != max(line.values):
        figure += f" [{shown(min(line.values))}..{shown(max(line.values))}]"
    aim = ""
    if line.at_most is not None:
        aim = f"at most {shown(line.at_most)}"
    elif line.at_least is not None:
        aim = f"at least {shown(line.at_least)}"
    verdict = {True: "met", False: "**missed**", None: ""}[line.is_met]
    return f"| {line.measurement}: {line.title} | {figure} | {aim} | {verdict} |"
