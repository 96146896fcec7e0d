"""One budget of 1.00 that every client spends from until it is refused for good; and the same with one of the
workers killed midway.

The sum over the usage rows is at most the budget and at least 99% of it, and so is what the engine says it
made; what the balance calls used is that sum, and nothing stays leased. A kill -9 takes with it what running
calls had used, unless it is recovered: the engine's figure is then shown and not judged.
"""

from __future__ import annotations

from collections.abc import Callable

from ledger.limits import LimitKind, LimitWindow
from ledger.money import PICOS_PER_UNIT
from race.finding import Finding
from race.load import FOR_GOOD, FOR_NOW
from race.plan import Group, LoadPlan, LoadReport
from race.stage import CLIENTS, Stage, picos

BUDGET_PICOS = PICOS_PER_UNIT
LEAST_SHARE = 0.99
_LOST_SHARE = 1.3
"""Where the engine has made so much more than the budget, the race is lost and need not go on."""

_KILLED_AT_SHARE = 0.4
_QUIET_S = 3.0
_IDLE_S = 3.0


def run(stage: Stage, finding: Finding, seed: int, seconds: float) -> None:
    """The plain race."""
    _race(stage, finding, seed, seconds, crash=False)


def run_with_a_crash(stage: Stage, finding: Finding, seed: int, seconds: float) -> None:
    """The race in which one of the workers is killed midway and started again."""
    _race(stage, finding, seed, seconds, crash=True)


def _race(stage: Stage, finding: Finding, seed: int, seconds: float, *, crash: bool) -> None:
    limit_id = stage.limit(
        LimitKind.SPEND, LimitWindow.LIFETIME, BUDGET_PICOS, project_id=stage.plane.project_id
    )
    plan = LoadPlan(
        stage.plane.port,
        seed,
        (Group("all", stage.plane.secret, CLIENTS),),
        seconds,
        quiet_s=_QUIET_S,
    )
    report = stage.load(plan, _watcher(stage, seed if crash else None))
    cpu = stage.cpu(report)
    group = report.groups[0]
    stage.settle(0 if crash else group.admitted)
    _judge_load(finding, report, crash=crash)
    _judge_money(stage, finding, limit_id, crash=crash)
    finding.figures |= cpu


def _watcher(stage: Stage, crash_seed: int | None) -> Callable[[], bool]:
    """Kills a worker once, midway, where a crash is wanted; True once the race is lost."""
    waiting = [] if crash_seed is None else [crash_seed % len(stage.plane.workers)]

    def look() -> bool:
        spent = stage.spent_by_engine()
        if waiting and spent >= _KILLED_AT_SHARE * BUDGET_PICOS:
            stage.plane.kill_worker(waiting.pop())
        return spent > _LOST_SHARE * BUDGET_PICOS

    return look


def _judge_load(finding: Finding, report: LoadReport, *, crash: bool) -> None:
    group = report.groups[0]
    for_good, for_now = report.refused(FOR_GOOD), report.refused(FOR_NOW)
    other = sum(group.refused.values()) - for_good - for_now
    finding.figures |= {
        "seconds": report.seconds,
        "last let in s": max(0.0, (report.last_admission_us - report.began_us) / 1e6),
        "since: for now": report.refused_since.get(FOR_NOW, 0),
        "since: for good": report.refused_since.get(FOR_GOOD, 0),
        "admitted": group.admitted,
        "left": group.left,
        "refused for now": for_now,
        "for good": for_good,
        "else": other,
        "cut off": group.broken + group.unanswered,
    }
    finding.hold(
        report.why == "refused", f"not every client was refused for good: the load ended by {report.why!r}"
    )
    finding.hold(crash or not group.broken, f"{group.broken} answers were cut off")
    finding.hold(not other, f"refused for another reason: {group.refused}")


def _judge_money(stage: Stage, finding: Finding, limit_id: str, *, crash: bool) -> None:
    rows = stage.book.calls()
    made = {call.request_id: call for call in stage.engine.calls() if call.made_any}
    spent = sum(row.amount_picos for row in rows)
    by_engine = sum(picos(call.prompt_tokens, call.generated_tokens) for call in made.values())
    posted = {row.request_id: row for row in rows}
    missing = made.keys() - posted.keys()
    different = sum(
        1
        for request_id, call in made.items()
        if (row := posted.get(request_id)) is not None
        and (row.prompt_tokens, row.completion_tokens) != (call.prompt_tokens, call.generated_tokens)
    )
    finding.figures |= {
        "spent": spent / PICOS_PER_UNIT,
        "of budget": spent / BUDGET_PICOS,
        "left picos": BUDGET_PICOS - spent,
        "by engine": by_engine / PICOS_PER_UNIT,
        "cut by limit": sum(1 for row in rows if row.ending == "limit_reached"),
        "not posted": len(missing),
        "other counts": different,
    }
    finding.hold(spent <= BUDGET_PICOS, f"overspent: {spent} of {BUDGET_PICOS} picos")
    finding.hold(
        spent >= LEAST_SHARE * BUDGET_PICOS, f"refused too early: {spent} of {BUDGET_PICOS} picos spent"
    )
    if not crash:
        finding.hold(by_engine <= BUDGET_PICOS, f"the engine made {by_engine} of {BUDGET_PICOS} picos")
        finding.hold(not missing, f"{len(missing)} calls of the engine are not posted")
        finding.hold(not different, f"{different} rows differ from the engine's own counts")
    if limit_id:
        leased, idle_s = stage.idle_leased(limit_id, _IDLE_S)
        used = stage.book.balance(limit_id)[0]
        finding.figures |= {"leased": leased, "after s": idle_s}
        finding.hold(used == spent, f"the balance has {used} used, the rows {spent}")
        finding.hold(not leased, f"{leased} picos stay leased though nobody calls")
