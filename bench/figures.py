"""Pure: the figures of a run, their medians and spreads over rounds, and their ratios to the baseline.

Rules: a figure keeps its unit in its name; every round is kept, and so is what failed in it. A ratio is of
medians, both from the same run. Must not know how a figure was measured, nor how it is shown.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median

SATURATED_SHARE = 0.9
BUNCHED_EVENTS = 1.3
KEPT_PACE_SHARE = 0.97
"""Events that wait for each other are handled together, and a chunk looks cheaper than it is."""
START, END = "start", "end"
"""What can fail beside the steps: with the first, all of them have."""
LOAD_BUSY_SHARE = 0.97
"""A core with less to spare than this may have kept the subject waiting."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """What is in a subject's ledger."""

    calls: int
    completion_tokens: int

    def plus(self, other: Recorded) -> Recorded:
        """Both together."""
        return Recorded(self.calls + other.calls, self.completion_tokens + other.completion_tokens)

    def minus(self, other: Recorded) -> Recorded:
        """What came after `other`."""
        return Recorded(self.calls - other.calls, self.completion_tokens - other.completion_tokens)


@dataclass(frozen=True, slots=True)
class Round:
    """The figures of one start of one subject, by name; `passed` went through it and `recorded` was in its
    ledger at the end. `failures` says why, by the step (scale.phase_steps) that has no figures. Calls that
    the load gave up before their first byte are `unanswered`, and not to be in a ledger.
    """

    subject: str
    version: str
    number: int
    figures: dict[str, float]
    passed: Recorded
    recorded: Recorded | None
    failures: dict[str, str] = field(default_factory=dict)
    unanswered: int = 0

    @property
    def is_recorded(self) -> bool:
        """Whether the ledger, if it keeps one, has every call and every token, once."""
        return self.recorded is None or self.recorded == self.passed

    def disturbed(self, streams: int) -> bool:
        """Whether paced events bunched up although the subject had time left: somebody kept it, or the load,
        waiting.
        """
        had_time = self.figures.get(f"paced_{streams}_core_share", 0.0) < SATURATED_SHARE
        bunched = self.figures.get(f"paced_{streams}_events_per_read", 1.0) > BUNCHED_EVENTS
        kept = self.figures.get(f"paced_{streams}_kept_share", 1.0)
        return had_time and (bunched or kept < KEPT_PACE_SHARE)

    def load_bound(self, step: str) -> bool:
        """Whether the load's and the engine's core was busy throughout while the subject had time left: its
        figures are right, but it could have carried more.
        """
        had_time = self.figures.get(f"{step}_core_share", 1.0) < SATURATED_SHARE
        return had_time and self.figures.get(f"{step}_load_share", 0.0) > LOAD_BUSY_SHARE


@dataclass(frozen=True, slots=True)
class Summary:
    """One figure of one subject over all rounds."""

    median: float
    lowest: float
    highest: float
    ratio: float | None


@dataclass(frozen=True, slots=True)
class Run:
    """A whole run: where and when it was, its rounds, and what each subject does for its money."""

    about: dict[str, object]
    baseline: str
    rounds: list[Round] = field(default_factory=list)
    does: dict[str, str] = field(default_factory=dict)

    def subjects(self) -> list[str]:
        return list(dict.fromkeys(each.subject for each in self.rounds))

    def paced_streams(self) -> list[int]:
        """How many paced streams were held at once, in every step that measured or failed."""
        names = [name for each in self.rounds for name in (*each.figures, *each.failures)]
        counts = {int(name.split("_")[1]) for name in names if name.startswith("paced_")}
        return sorted(counts)

    def summary(self, subject: str, figure: str) -> Summary | None:
        """None where no round of `subject` has the figure."""
        values = self._values(subject, figure)
        if not values:
            return None
        base = self._values(self.baseline, figure)
        ratio = median(values) / median(base) if base and median(base) else None
        return Summary(median(values), min(values), max(values), ratio)

    def failed(self, subject: str, step: str) -> int:
        """In how many rounds of `subject` the step failed."""
        return sum(
            each.subject == subject and (step in each.failures or START in each.failures)
            for each in self.rounds
        )

    @property
    def is_good(self) -> bool:
        """Whether nothing failed, and every ledger is right."""
        return all(not each.failures and each.is_recorded for each in self.rounds)

    def _values(self, subject: str, figure: str) -> list[float]:
        return [
            each.figures[figure] for each in self.rounds if each.subject == subject and figure in each.figures
        ]


def percentile(values: list[float], share: float) -> float:
    """The smallest value that at least `share` of them do not exceed (nearest rank)."""
    assert values and 0 < share <= 1
    ordered = sorted(values)
    rank = -(-len(ordered) * share // 1)
    return ordered[max(0, int(rank) - 1)]
