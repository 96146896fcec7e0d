"""What one run found: its counts, and what it found broken. It does no I/O."""

from __future__ import annotations

from dataclasses import dataclass, field

from chaos.judge import Verdict
from chaos.schedule import Kind


@dataclass(slots=True)
class Finding:
    """What one run found."""

    seed: int
    database: str
    verdict: Verdict
    struck: dict[Kind, int]
    stops: dict[str, int]
    in_flight_at_kills: int
    starts: int
    failed_starts: int
    small_disk: bool
    seconds: float
    clients_left: int = 0
    verified: dict[str, int] = field(default_factory=dict)
    tracebacks: int = 0
    budget_picos: int = 0
    spent_picos: int = 0
    statuses: dict[int, int] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)

    def hold(self, promise: bool, broken: str) -> None:
        """Notes a violation unless the promise holds."""
        if not promise:
            self.violations.append(broken)
