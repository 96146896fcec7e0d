"""What limits cost the database: transactions for each 1,000 admitted calls on one hot key in steady state,
and for 10,000 calls that an empty budget refuses.

Steady state is within the load: from when it has run for a while until shortly before its end. The workers'
own counts of lease exchanges (heartbeats are among them) and of answers are what is judged; they are written
down together. On PostgreSQL the server's count of commits, less the postings, is shown beside them. It comes
late by a second or more, and holds what our own looking costs: it has to tell the same story, not the same
number.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

from ledger.limits import LimitKind, LimitWindow
from ledger.money import PICOS_PER_UNIT
from race.finding import Finding
from race.plan import Group, LoadPlan, Traits
from race.stage import CLIENTS, Stage

OPERATIONS_MAX: Final = 20
A_SECOND_MAX: Final = 16.0
"""Leases are renewed by the second and not by the call, four times a second by each of four workers at the
most. A machine that cannot carry the 800 calls a second for which that is 20 in 1,000 is judged by this.
"""

REFUSALS: Final = 10_000
_WRITTEN_S: Final = 1.3
"""The workers write their counts once a second."""

_WARM_S: Final = 3.0
_OPENING_S: Final = 30.0
_EMPTYING_S: Final = 10.0
_READINGS_MIN: Final = 4

_SHORT = Traits(
    prompt_words=(5, 30), max_tokens=(2, 12), unset_share=0.0, leaving_share=0.0, streamed_share=0.3
)


@dataclass(frozen=True, slots=True)
class _Reading:
    """Counts so far; no exchanges where the workers do not count them, no commits on SQLite."""

    exchanges: float | None
    answered: float
    commits: int | None
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
    readings: list[_Reading] = []
    begun_s = time.monotonic()

    def look() -> bool:
        if time.monotonic() - begun_s > _WARM_S + len(readings):
            readings.append(_read(stage))
        return False

    running = stage.start_load(LoadPlan(plane.port, seed, (hot,), _WARM_S + seconds))
    begun_s = time.monotonic()
    report = running.watch(look)
    if len(readings) < _READINGS_MIN:
        raise AssertionError(f"only {len(readings)} readings in {seconds} s: give it more")
    # The last may have been taken when the load was over.
    first, last = readings[0], readings[-2]
    finding.figures |= {
        "admitted": report.total("admitted"),
        "per second": report.total("admitted") / report.seconds,
        "read over": int(last.answered - first.answered),
    }
    _judge(finding, "per 1,000 admitted", first, last, (last.answered - first.answered) / 1000)
    finding.figures |= stage.cpu(report)

    _, key_id, secret = stage.new_tenant("poor")
    stage.limit(LimitKind.SPEND, LimitWindow.LIFETIME, PICOS_PER_UNIT // 500, api_key_id=key_id)
    poor = Group("poor", secret, CLIENTS, _SHORT, heeds=False)
    # First what there is, then nothing but refusals.
    stage.load(
        LoadPlan(plane.port, seed, (Group("first", secret, CLIENTS, _SHORT),), _EMPTYING_S, quiet_s=2.0)
    )
    time.sleep(_WRITTEN_S)
    first = _read(stage)
    report = stage.load(LoadPlan(plane.port, seed, (poor,), _OPENING_S, refusals_max=REFUSALS))
    time.sleep(_WRITTEN_S)
    last = _read(stage)
    refused = sum(sum(group.refused.values()) for group in report.groups)
    finding.figures |= {"refused": refused, "admitted then": report.total("admitted")}
    finding.hold(refused >= REFUSALS, f"only {refused} calls were refused")
    _judge(finding, "for the refused", first, last, 1.0)


def _judge(finding: Finding, what: str, first: _Reading, last: _Reading, divisor: float) -> None:
    """What came between two readings, for each of `divisor`."""
    if last.exchanges is None or not divisor:
        finding.hold(False, f"operations {what}: the workers count no lease exchanges, or no answers")
        return
    made = last.exchanges - (first.exchanges or 0)
    exchanges = made / divisor
    finding.figures[f"exchanges {what}"] = exchanges
    a_second = finding.figures[f"a second, {what}"] = made / (last.at_s - first.at_s)
    is_few = exchanges < OPERATIONS_MAX or (divisor != 1.0 and a_second < A_SECOND_MAX)
    finding.hold(is_few, f"{exchanges:.1f} exchanges {what}, {a_second:.1f} a second")
    if last.commits is not None and first.commits is not None:
        finding.figures[f"commits {what}"] = (last.commits - first.commits) / divisor


def _read(stage: Stage) -> _Reading:
    """The counts as they are written down now."""
    commits = stage.book.transactions()
    if commits is not None:
        commits -= stage.book.postings()
    return _Reading(*stage.counted(), commits, time.monotonic())
