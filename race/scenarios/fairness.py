"""A hundred tenants on one gate, one of them with fifty times the load of another and tight limits of its
own: the ninety-nine get what they ask for, as they do without it.

Judged by the share of calls that each of them was admitted with; the latencies are shown in ratio to the same
load without the hot tenant, on the same gate.
"""

from __future__ import annotations

from ledger.limits import LimitKind, LimitWindow
from ledger.money import PICOS_PER_UNIT
from race.finding import Finding
from race.plan import Group, LoadPlan, LoadReport, Traits
from race.stage import Stage

TENANTS = 99
TIMES = 50
LEAST_SHARE = 0.9
_PAUSE_S = 1.0
_SHORT = Traits(prompt_words=(5, 30), max_tokens=(2, 12), unset_share=0.0, leaving_share=0.0)


def run(stage: Stage, finding: Finding, seed: int, seconds: float) -> None:
    """Without the hot tenant, then with it."""
    names = [f"cold {number}" for number in range(TENANTS)]
    secrets = stage.new_tenants(
        names,
        (LimitKind.REQUESTS, LimitWindow.MINUTE, 600),
        (LimitKind.SPEND, LimitWindow.MONTH, 10 * PICOS_PER_UNIT),
    )
    cold = [
        Group(name, secret, 1, _SHORT, pause_s=_PAUSE_S, heeds=False)
        for name, secret in zip(names, secrets, strict=True)
    ]
    (secret,) = stage.new_tenants(
        ["hot"],
        (LimitKind.REQUESTS, LimitWindow.MINUTE, 60),
        (LimitKind.CONCURRENT, None, 4),
        (LimitKind.SPEND, LimitWindow.MONTH, PICOS_PER_UNIT // 50),
    )
    hot = Group("hot", secret, TIMES, _SHORT, pause_s=_PAUSE_S, heeds=False)
    port = stage.plane.port
    without = stage.load(LoadPlan(port, seed, tuple(cold), seconds))
    both = stage.load(LoadPlan(port, seed + 1, (*cold, hot), seconds))
    cpu = stage.cpu(both)
    stage.settle(0)
    shares = [group.admitted / max(1, group.asked) for group in both.groups[:TENANTS]]
    alone_s, beside_s = _p95_s(without), _p95_s(both)
    busy = both.groups[-1]
    finding.figures |= {
        "cold asked": sum(group.asked for group in both.groups[:TENANTS]),
        "least share": min(shares),
        "p95 alone s": alone_s,
        "p95 beside s": beside_s,
        "ratio": beside_s / alone_s if alone_s else 0.0,
        "hot asked": busy.asked,
        "hot admitted": busy.admitted,
        **cpu,
    }
    starved = sum(1 for share in shares if share < LEAST_SHARE)
    finding.hold(
        not starved, f"{starved} of {TENANTS} got less than {LEAST_SHARE:.0%} of what they asked for"
    )
    # Its rate lets 60 a minute and a burst of 10 through.
    most = 10 + both.seconds * 60 / 60 + 1
    finding.hold(busy.admitted <= most, f"the hot tenant got {busy.admitted} calls, more than its limits")


def _p95_s(report: LoadReport) -> float:
    """The median over the cold tenants of their 95th percentile."""
    ordered = sorted(group.latency_p95_s for group in report.groups[:TENANTS])
    return ordered[len(ordered) // 2]
