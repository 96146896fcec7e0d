"""A key of 8 calls in flight: never 9, and while more want in, hardly below 8.

Judged by the engine's own count of calls that it works on at once, and by spans in which a slot was surely
held: from the arrival at the engine to the end in the ledger. What the ledger calls the start is when the
call was read, before it had its slot: those spans are shown and not judged.
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
    rows = stage.book.calls()
    asked = [(row.started_us, row.ended_us) for row in rows]
    calls = stage.engine.calls()
    seen = [(call.arrived_us, call.ended_us) for call in calls]
    arrived = {call.request_id: call.arrived_us for call in calls}
    held = [(arrived[row.request_id], row.ended_us) for row in rows if row.request_id in arrived]
    # New calls are begun until the load's time is over; the last of them then run to their end.
    until_us = report.began_us + int(seconds * 1e6)
    mean_held = mean_at_once(held, report.began_us + _FULL_US, until_us)
    mean_seen = mean_at_once(seen, report.began_us + _FULL_US, until_us)
    most_held = most_at_once(held)
    most_seen = max(most_at_once(seen), stage.engine.totals()["in_flight_max"])
    finding.figures |= {
        "seconds": report.seconds,
        "admitted": len(rows),
        "refused for now": report.refused(FOR_NOW),
        "left or else": report.total("attempts") - report.total("admitted") - report.refused(FOR_NOW),
        "most, engine": most_seen,
        "most, held": most_held,
        "most, asked": most_at_once(asked),
        "mean, engine": mean_seen,
        "mean, held": mean_held,
    }
    finding.hold(most_seen <= SLOTS, f"{most_seen} in flight at once at the engine")
    finding.hold(most_held <= SLOTS, f"{most_held} held slots at once by engine and ledger")
    finding.hold(mean_held >= LEAST_MEAN, f"only {mean_held:.2f} in flight on average")
    if limit_id:
        leased, idle_s = stage.idle_leased(limit_id, _IDLE_S)
        finding.figures |= {"leased": leased, "after s": idle_s}
        finding.hold(not leased, f"{leased} slots stay leased though nobody calls")
    finding.figures |= cpu
