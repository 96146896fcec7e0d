"""What is raced for: one module a promise, each with `run(stage, finding, seed, seconds)`, and the table of
them all.

Rules: a scenario sets its limits, lets a load run, waits until everything is posted, and notes figures and
violations in the finding it is given. Must not know which database it runs on, nor how it is shown.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from race.finding import Finding
from race.scenarios import budget, fairness, operations, rate, slots
from race.stage import Stage

Run = Callable[[Stage, Finding, int, float], None]


@dataclass(frozen=True, slots=True)
class Scenario:
    """`seconds`: how long its load runs, at most. `every`: with which seeds of `make race` it runs."""

    run: Run
    seconds: float
    every: int = 1


SCENARIOS: dict[str, Scenario] = {
    "budget": Scenario(budget.run, 90),
    "rate": Scenario(rate.run, 120),
    "slots": Scenario(slots.run, 20),
    "crash": Scenario(budget.run_with_a_crash, 90),
    "operations": Scenario(operations.run, 15, every=5),
    "fairness": Scenario(fairness.run, 15, every=5),
}
