"""What limits cost the database: transactions for each 1,000 admitted calls on one hot key in steady state,
and for 10,000 calls that an empty budget refuses.

The workers' own count of lease exchanges (heartbeats are among them) is what is judged. On PostgreSQL the
server's count of commits is shown beside it, less the postings and less what goes on while nobody calls (the
workers follow the change log): it has to tell the same story.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

from ledger.limits import LimitKind, LimitWindow
from ledger.money import PICOS_PER_UNIT
from race.finding import Finding
from race.plan import Group, LoadPlan, LoadReport, Traits
from race.stage import CLIENTS, Stage

OPERATIONS_MAX: Final = 20
REFUSALS: Final = 10_000
_WRITTEN_S: Final = 1.3
"""The workers write their counts once a second."""

_IDLE_S: Final = 4.0
_WARM_S: Final = 3.0
_OPENING_S: Final = 30.0
_OUR_READS: Final = 2
"""Questions that a reading itself asks of the ledger's database, each a transaction."""

_SHORT = Traits(
    prompt_words=(5, 30), max_tokens=(2, 12), unset_share=0.0, leaving_share=0.0, streamed_share=0.3
)


@dataclass(frozen=True, slots=True)
class _Reading:
    exchanges: float | None
    commits: int | None
    postings: int
    at_s: float


def run(stage: Stage, finding: Finding, seed: int, seconds: float) -> None:
    """The admitted calls, then the refused ones."""
    plane = stage.plane
    for kind, window, most in (
        (LimitKind.SPEND, LimitWindow.MONTH, 1000 * PICOS_PER_UNIT),
        (LimitKind.TOKENS, LimitWindow.DAY, 10**9),
        (LimitKind.REQUESTS, LimitWindow.MINUTE, 10**6),
        (LimitKind.CONCURRENT, None, 1000),
    ):
        stage.limit(kind, window, most, api_key_id=plane.key_id)
    hot = Group("hot", plane.secret, CLIENTS, _SHORT)
    stage.load(LoadPlan(plane.port, seed, (hot,), _WARM_S))
    before = _read(stage)
    time.sleep(_IDLE_S)
    after = _read(stage)
    idle = _per_second(before, after)

    report, exchanges, commits = _measured(stage, LoadPlan(plane.port, seed, (hot,), seconds), idle)
    thousands = report.total("admitted") / 1000
    finding.figures |= {
        "admitted": report.total("admitted"),
        "idle commits/s": "" if idle is None else idle,
    }
    _judge(finding, "per 1,000 admitted", exchanges, commits, thousands)
    finding.figures |= stage.cpu(report)

    _, key_id, secret = stage.new_tenant("poor")
    stage.limit(LimitKind.SPEND, LimitWindow.LIFETIME, PICOS_PER_UNIT // 500, api_key_id=key_id)
    poor = Group("poor", secret, CLIENTS, _SHORT, heeds=False)
    # First what there is, then nothing but refusals.
    stage.load(LoadPlan(plane.port, seed, (Group("first", secret, CLIENTS, _SHORT),), 10, quiet_s=2.0))
    plan = LoadPlan(plane.port, seed, (poor,), _OPENING_S, refusals_max=REFUSALS)
    report, exchanges, commits = _measured(stage, plan, idle)
    refused = sum(sum(group.refused.values()) for group in report.groups)
    finding.figures |= {"refused": refused, "admitted then": report.total("admitted")}
    finding.hold(refused >= REFUSALS, f"only {refused} calls were refused")
    _judge(finding, "for the refused", exchanges, commits, 1.0)


def _judge(
    finding: Finding, what: str, exchanges: float | None, commits: float | None, divisor: float
) -> None:
    if exchanges is None:
        finding.hold(False, f"operations {what}: the workers count no lease exchanges")
    else:
        finding.figures[f"exchanges {what}"] = exchanges / max(divisor, 1e-9)
        finding.hold(
            exchanges < OPERATIONS_MAX * divisor, f"{exchanges / max(divisor, 1e-9):.1f} exchanges {what}"
        )
    if commits is not None:
        finding.figures[f"commits {what}"] = commits / max(divisor, 1e-9)


def _measured(
    stage: Stage, plan: LoadPlan, idle_per_s: float | None
) -> tuple[LoadReport, float | None, float | None]:
    """(the load's report, lease exchanges, commits beyond postings and idling) of one load."""
    before = _read(stage)
    report = stage.load(plan)
    after = _read(stage)
    exchanges = None
    if after.exchanges is not None:
        exchanges = after.exchanges - (before.exchanges or 0)
    commits = None
    if before.commits is not None and after.commits is not None and idle_per_s is not None:
        beyond = after.commits - before.commits - (after.postings - before.postings)
        commits = beyond - _OUR_READS - idle_per_s * (after.at_s - before.at_s)
    return report, exchanges, commits


def _per_second(before: _Reading, after: _Reading) -> float | None:
    if before.commits is None or after.commits is None:
        return None
    beyond = after.commits - before.commits - (after.postings - before.postings) - _OUR_READS
    return beyond / (after.at_s - before.at_s)


def _read(stage: Stage) -> _Reading:
    """Once everything is posted and everybody has written down what they counted."""
    stage.settle(0)
    time.sleep(_WRITTEN_S)
    return _Reading(stage.exchanges(), stage.book.transactions(), stage.book.postings(), time.monotonic())
