"""A key of 600 requests a minute: never above rate and burst in any window, and hardly below the rate.

Judged twice, by when calls were read (the ledger) and by when they came to the engine. A call is admitted
between the two; what refills while the slowest was on its way may be bunched together by either clock, and is
let off.
"""

from __future__ import annotations

from ledger.limits import LimitKind, LimitWindow, default_burst
from race.finding import Finding
from race.load import FOR_NOW
from race.plan import Group, LoadPlan, Traits
from race.stage import CLIENTS, Stage
from race.sweeps import MINUTE_US, most_beyond, most_within

PER_MINUTE = 600
LEAST_SHARE = 0.97
_SPENT_US = 5_000_000
"""By then the burst is gone, and only the rate is left."""

_SHORT = Traits(prompt_words=(5, 30), max_tokens=(2, 12), unset_share=0.0, leaving_share=0.02)


def run(stage: Stage, finding: Finding, seed: int, seconds: float) -> None:
    """Short calls, so that the rate is all that holds them back."""
    burst = default_burst(PER_MINUTE)
    stage.limit(LimitKind.REQUESTS, LimitWindow.MINUTE, PER_MINUTE, api_key_id=stage.plane.key_id)
    group = Group("all", stage.plane.secret, CLIENTS, _SHORT)
    plan = LoadPlan(stage.plane.port, seed, (group,), seconds)
    report = stage.load(
        plan, lambda: stage.engine.totals()["calls"] > 3 * (burst + seconds * PER_MINUTE / 60)
    )
    cpu = stage.cpu(report)
    stage.settle(report.groups[0].admitted)
    rows = {row.request_id: row.started_us for row in stage.book.calls()}
    arrived = {call.request_id: call.arrived_us for call in stage.engine.calls()}
    slowest_us = max((at - rows[name] for name, at in arrived.items() if name in rows), default=0)
    let_off = slowest_us * PER_MINUTE / MINUTE_US
    steady_us = report.ended_us - report.began_us - _SPENT_US
    used = sum(1 for at in rows.values() if report.began_us + _SPENT_US <= at < report.ended_us)
    share = used * MINUTE_US / (PER_MINUTE * steady_us) if steady_us > 0 else 0.0
    finding.figures |= {
        "seconds": report.seconds,
        "admitted": len(rows),
        "refused for now": report.refused(FOR_NOW),
        "left or else": report.total("attempts") - report.total("admitted") - report.refused(FOR_NOW),
        "kept waits": report.retries,
        "then admitted": report.retries_admitted,
        "of the rate": share,
    }
    for name, moments in (("ledger", rows.values()), ("engine", arrived.values())):
        in_60_s = most_within(moments, MINUTE_US)
        beyond = most_beyond(moments, PER_MINUTE)
        finding.figures |= {f"in 60 s, {name}": in_60_s, f"beyond rate, {name}": beyond}
        finding.hold(
            in_60_s <= PER_MINUTE + burst + let_off,
            f"{in_60_s} within 60 s by the {name}, above {PER_MINUTE} + {burst}",
        )
        finding.hold(
            beyond <= burst + 1 + let_off, f"{beyond:.1f} beyond the rate by the {name}, above {burst}"
        )
    finding.hold(share >= LEAST_SHARE, f"only {share:.1%} of the rate was used")
    finding.figures |= {"slowest way s": slowest_us / 1e6, **cpu}
