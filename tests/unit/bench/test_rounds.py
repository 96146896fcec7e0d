"""A round goes on after a step that failed, and keeps why."""

from __future__ import annotations

from typing import cast

import pytest

from bench.client import BrokenStream
from bench.phases import Phases
from bench.rounds import measure

_STEPS = ["paced_128", "paced_512", "paced_2000", "steady", "unary"]


class _AtWork:
    """Every step gives its name; `broken` ones fail."""

    def __init__(self, broken: str, keeps_ledger: bool) -> None:
        self.keeps_ledger = keeps_ledger
        self._broken = broken

    def run(self, step: str) -> dict[str, float]:
        if step == self._broken:
            raise BrokenStream("cut  off\nafter 3")
        return {step: 1.0}

    def rest(self) -> None: ...


@pytest.mark.parametrize(
    ("keeps_ledger", "measured", "left"),
    [
        (True, ["paced_128", "paced_2000", "steady", "unary"], []),
        (False, ["paced_128"], ["steady", "unary"]),
    ],
)
def test_a_step_that_fails_costs_its_own_cell(
    keeps_ledger: bool, measured: list[str], left: list[str]
) -> None:
    """One peer that breaks must not take the run with it. What it still has in hand must not fall on its
    next step: who keeps no ledger is started afresh.
    """
    figures: dict[str, float] = {}
    failures: dict[str, str] = {}
    at_work = cast(Phases, _AtWork("paced_512", keeps_ledger))
    assert measure(at_work, _STEPS, figures, failures) == left
    assert list(figures) == measured
    assert failures["paced_512"] == "cut off after 3"
    assert ("paced_2000" in failures) is not keeps_ledger
