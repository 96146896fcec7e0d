"""A key of 8 calls in flight: never 9, and while more want in, hardly below 8.

Judged by the engine's own count of calls that it works on at once, and by the spans from start to end in the
ledger.
"""

from __future__ import annotations

from ledger.limits import LimitKind
from race.finding import Finding
from race.load import FOR_NOW
from race.plan import Group, LoadPlan
from race.stage import CLIENTS, Stage
from race.sweeps import mean_at_once, most_at_once

SLOTS = 8
LEAST_MEAN = 7.0
_FULL_US = 2_000_000
"""By then every slot has been taken for the first time."""

_IDLE_S = 3.0


def run(stage: Stage, finding: Finding, seed: int, seconds: float) -> None:
    """Calls of a second or two, many more than there are slots."""
    limit_id = stage.limit(LimitKind.CONCURRENT, None, SLOTS, api_key_id=stage.plane.key_id)
    plan = LoadPlan(stage.plane.port, seed, (Group("all", stage.plane.secret, CLIENTS),), seconds)
    report = stage.load(plan)
    cpu = stage.cpu(report)
    stage.settle(report.groups[0].admitted)
    posted = [(row.started_us, row.ended_us) for row in stage.book.calls()]
    seen = [(call.arrived_us, call.ended_us) for call in stage.engine.calls()]
    # New calls are begun until the load's time is over; the last of them then run to their end.
    until_us = report.began_us + int(seconds * 1e6)
    mean_posted = mean_at_once(posted, report.began_us + _FULL_US, until_us)
    mean_seen = mean_at_once(seen, report.began_us + _FULL_US, until_us)
    most_posted, most_seen = most_at_once(posted), most_at_once(seen)
    counted = stage.engine.totals()["in_flight_max"]
    finding.figures |= {
        "seconds": report.seconds,
        "admitted": len(posted),
        "refused for now": report.refused(FOR_NOW),
        "else": report.total("attempts") - report.total("admitted") - report.refused(FOR_NOW),
        "most, ledger": most_posted,
        "most, engine": max(most_seen, counted),
        "mean, ledger": mean_posted,
        "mean, engine": mean_seen,
    }
    finding.hold(most_posted <= SLOTS, f"{most_posted} in flight at once by the ledger")
    finding.hold(
        max(most_seen, counted) <= SLOTS, f"{max(most_seen, counted)} in flight at once at the engine"
    )
    finding.hold(mean_posted >= LEAST_MEAN, f"only {mean_posted:.2f} in flight on average")
    if limit_id:
        leased, idle_s = stage.idle_leased(limit_id, _IDLE_S)
        finding.figures |= {"leased": leased, "after s": idle_s}
        finding.hold(not leased, f"{leased} slots stay leased though nobody calls")
    finding.figures |= cpu
