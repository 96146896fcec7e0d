"""What a capture found: groups of a few streams, their rows, and why an engine's counter may differ.

It does no I/O.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from chaos.plan import CallReport
from race.book import PostedCall

UNTOLD_TOKENS_MAX = 2
"""What vLLM may count for a stream in the moment in which it notices that its client left, telling nobody."""


@dataclass(slots=True)
class Group:
    """A few streams, and what the engine's counter grew by while they ran."""

    number: int
    kind: str  # "calm": all stayed; "left": somebody left; "killed": their worker was killed
    reports: list[CallReport]
    generated: int = 0
    rows: list[PostedCall] = field(default_factory=list)

    @property
    def in_ledger(self) -> int:
        """Completion tokens of its rows."""
        return sum(row.completion_tokens for row in self.rows)

    @property
    def difference(self) -> int:
        """What the engine counted and the ledger has not."""
        return self.generated - self.in_ledger

    @property
    def explained(self) -> str:
        """Why there may be a difference; "" where there may be none."""
        if self.kind == "killed":
            unknown = sum(row.usage_source == "unresolved" for row in self.rows)
            return f"worker killed: made after the last count that it had read; {unknown} without any count"
        left = sum(row.ending == "client_left" for row in self.rows)
        if 0 < self.difference <= UNTOLD_TOKENS_MAX * left:
            return f"{left} clients left: counted by the engine in its abort and told nobody"
        return ""


@dataclass(slots=True)
class Capture:
    """What came out."""

    groups: list[Group]
    kills: int
    in_flight_at_kills: int
    violations: list[str] = field(default_factory=list)

    @property
    def generated(self) -> int:
        """By the engine's counter."""
        return sum(group.generated for group in self.groups)

    @property
    def in_ledger(self) -> int:
        """By the rows."""
        return sum(group.in_ledger for group in self.groups)


def judge(result: Capture, rows: dict[str, PostedCall]) -> None:
    """Gives each group its rows, by the names of its calls, and notes what is wrong."""
    for group in result.groups:
        for report in group.reports:
            row = rows.get(report.name)
            if row is not None:
                group.rows.append(row)
            given = 0 if row is None else row.completion_tokens
            if report.tokens > given:
                result.violations.append(f"{report.name}: given {report.tokens}, in the ledger {given}")
        if not any(report.status for report in group.reports) and group.kind != "killed":
            result.violations.append(f"group {group.number}: nobody was answered")
        if group.difference < 0:
            result.violations.append(f"group {group.number}: {-group.difference} more than the engine made")
        elif group.difference and not group.explained:
            result.violations.append(f"group {group.number}: {group.difference} tokens nobody explains")


def shown(result: Capture) -> str:
    """The counts, and each group that differs with its rows."""
    streams = sum(len(group.reports) for group in result.groups)
    rate = 100 * result.in_ledger / result.generated if result.generated else 0.0
    lines = [
        f"{streams} streams in {len(result.groups)} groups, {result.kills} workers killed"
        f" with {result.in_flight_at_kills} calls in flight",
        f"generation_tokens_total {result.generated}, in the ledger {result.in_ledger}",
        f"capture rate {rate:.3f}%",
        "",
        "groups   streams    engine    ledger  difference",
    ]
    for kind in ("calm", "left", "killed"):
        groups = [group for group in result.groups if group.kind == kind]
        made, posted = sum(g.generated for g in groups), sum(g.in_ledger for g in groups)
        count = sum(len(group.reports) for group in groups)
        lines.append(f"{kind:8} {count:7} {made:9} {posted:9} {made - posted:11}")
    by_ending = Counter((row.ending, row.usage_source) for group in result.groups for row in group.rows)
    lines += [
        "",
        "rows: " + ", ".join(f"{' '.join(kind)} {count}" for kind, count in sorted(by_ending.items())),
    ]
    lines += ["", "each group that differs:"]
    for group in result.groups:
        if group.difference:
            lines.append(
                f"  group {group.number}: {group.difference} tokens; {group.explained or 'NOT EXPLAINED'}"
            )
            given = {report.name: report for report in group.reports}
            for row in group.rows:
                client = given[row.end_user]
                lines.append(
                    f"    {row.end_user}: {row.ending} {row.usage_source}, in the ledger"
                    f" {row.completion_tokens}, given to the client {client.tokens}"
                )
    lines += ["", "GREEN" if not result.violations else "RED", *(f"  {what}" for what in result.violations)]
    return "\n".join(lines)
