"""Pure: the figures of a run, their medians and spreads over rounds, and their ratios to the baseline.

Rules: a figure keeps its unit in its name; every round is kept. A ratio is of medians, both from the same
run. Must not know how a figure was measured, nor how it is shown.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table: which figure, what it says, with how many decimals, and whether a ratio to the
    baseline means anything.
    """

    name: str
    title: str
    decimals: int = 1
    ratio: bool = True


ROWS = (
    Row("cpu_us_per_request", "CPU per unstreamed request at full load, us"),
    Row("cpu_us_per_steady_request", "CPU per unstreamed request at one rate for all, us"),
    Row("cpu_us_per_burst_stream", "CPU per burst stream of 100 chunks, us", 0),
    Row("cpu_us_per_paced_chunk", "CPU per paced chunk, us", 2),
    Row("memory_kib_per_stream", "memory per open stream, KiB"),
    Row("requests_per_s", "unstreamed requests a second, full load", 0),
    Row("added_p50_us", "added latency p50, us", 0, ratio=False),
    Row("added_p99_us", "added latency p99, us", 0, ratio=False),
    Row("idle_memory_mib", "memory of the tree, no stream open, MiB"),
)
"""The table, in the order it is shown."""

CHECKS = (
    Row("paced_core_share", "paced: share of its core the subject used", 2, ratio=False),
    Row("paced_pace_share", "paced: share of the engine's steps that arrived in time", 3, ratio=False),
    Row("paced_events_per_read", "paced: events that reached the client together", 2, ratio=False),
    Row("steady_requests_per_s", "one rate for all: requests a second", 0, ratio=False),
    Row("unary_core_share", "full load: share of its core the subject used", 2, ratio=False),
    Row("unary_engine_share", "full load: share of a core the engine used", 2, ratio=False),
    Row("paced_engine_share", "paced: share of a core the engine used", 2, ratio=False),
    Row("unary_others_share", "noise, full load: share of the subject's core others took", 3, ratio=False),
    Row("burst_others_share", "noise, burst: the same", 3, ratio=False),
    Row("paced_others_share", "noise, paced: the same", 3, ratio=False),
)
"""What tells whether the figures above are to be believed."""

SATURATED_SHARE = 0.9
BUNCHED_EVENTS = 1.3
KEPT_PACE_SHARE = 0.97
"""Events that wait for each other are handled together, and a chunk looks cheaper than it is."""


@dataclass(frozen=True, slots=True)
class Round:
    """The figures of one start of one subject, by name; `calls` passed through it and `recorded` were in its
    ledger at the end.
    """

    subject: str
    version: str
    number: int
    figures: dict[str, float]
    calls: int
    recorded: int | None

    @property
    def disturbed(self) -> bool:
        """Whether paced events bunched up although the subject had time left: somebody kept it, or the load,
        waiting.
        """
        had_time = self.figures.get("paced_core_share", 0.0) < SATURATED_SHARE
        bunched = self.figures.get("paced_events_per_read", 1.0) > BUNCHED_EVENTS
        return had_time and (bunched or self.figures.get("paced_pace_share", 1.0) < KEPT_PACE_SHARE)


@dataclass(frozen=True, slots=True)
class Summary:
    """One figure of one subject over all rounds."""

    median: float
    lowest: float
    highest: float
    ratio: float | None


@dataclass(frozen=True, slots=True)
class Run:
    """A whole run: where and when it was, and its rounds."""

    about: dict[str, object]
    baseline: str
    rounds: list[Round] = field(default_factory=list)

    def subjects(self) -> list[str]:
        return list(dict.fromkeys(each.subject for each in self.rounds))

    def summary(self, subject: str, figure: str) -> Summary | None:
        """None where no round of `subject` has the figure."""
        values = self._values(subject, figure)
        if not values:
            return None
        base = self._values(self.baseline, figure)
        ratio = median(values) / median(base) if base and median(base) else None
        return Summary(median(values), min(values), max(values), ratio)

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
