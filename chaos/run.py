"""One run of the chaos: everything is started, everything breaks, everything mends, and it is judged.

Owns the order of these, and what is judged beside the calls: balances, budget, and what metergate says of
itself.
"""

from __future__ import annotations

import random
import re
import shutil
import time
from pathlib import Path

from chaos.command import verified
from chaos.director import Director
from chaos.finding import Finding
from chaos.judge import Judge
from chaos.plan import CallReport, Group, LoadPlan
from chaos.running_load import RunningLoad
from chaos.schedule import schedule
from chaos.stage import Size, Stage
from ledger.journal.segments import journal_root
from ledger.limits import LimitKind
from ledger.posting import NOTHING_POSTED
from race.book import PostedCall
from race.databases import Databases

_KNOWN_S = 1.2
"""Prices and limits are in force on every worker within a second."""

_LOAD_S_MAX = 1200.0
_FAILED = re.compile(r"Exception in ASGI application|request \S+ failed")


def run(
    kinds: Databases, database: str, seed: int, size: Size, *, recovers: bool = True, keep: Path | None = None
) -> Finding:
    """One seed on one database. `keep`: a folder for what it leaves behind, where anything was broken."""
    with kinds.fresh(database) as (folder, url), Stage(kinds, folder / "data", url, seed, size) as stage:
        finding = _run(stage, seed, size, recovers=recovers)
        if keep is not None and finding.violations:
            shutil.copytree(folder, keep / f"seed{seed}-{database}", dirs_exist_ok=True)
        return finding


def _run(stage: Stage, seed: int, size: Size, *, recovers: bool) -> Finding:
    began_s = time.monotonic()
    director = Director(stage.service, stage.fleet, stage.outage, stage.disk, seed=seed, recovers=recovers)
    reports = _break_everything(stage, director, seed, size)
    status, left = stage.come_to_rest()
    rows = stage.book.calls()
    finding = Finding(
        seed,
        stage.database,
        Judge(rows, stage.fleet.calls(), reports).verdict(),
        director.struck,
        stage.outage.stops,
        director.in_flight_at_kills,
        stage.service.starts,
        stage.service.failed_starts,
        stage.disk.is_mounted,
        time.monotonic() - began_s,
        clients_left=sum(report.left for report in reports),
    )
    finding.violations += finding.verdict.violations
    for report in reports:
        finding.statuses[report.status] = finding.statuses.get(report.status, 0) + 1
    finding.hold(not status, f"the last stop ended with status {status}")
    finding.hold(left == NOTHING_POSTED, f"a stop in peace left something unposted: {left}")
    statuses = [status for status in stage.service.statuses if status > 0]  # below: killed over it
    finding.hold(not statuses, f"drains ended with exit status {statuses}")
    _judge_balances(stage, finding, rows)
    _judge_budget(stage, finding, rows, director.away_us)
    _judge_what_it_says(stage, finding)
    return finding


def _break_everything(stage: Stage, director: Director, seed: int, size: Size) -> list[CallReport]:
    """What the clients saw of it."""
    time.sleep(_KNOWN_S)
    groups = tuple(
        Group(name, secret, (size.clients + at) // len(stage.secrets))
        for at, (name, secret) in enumerate(stage.secrets.items())
    )
    plan = LoadPlan(stage.service.port, seed, groups, size.seconds + _LOAD_S_MAX)
    load = RunningLoad(plan, stage.folder / "load.words")
    try:
        incidents = schedule(random.Random(f"{seed}/schedule"), size.seconds)
        director.run([one for one in incidents if one.kind in size.kinds], size.seconds)
        stage.is_whole = True
        director.make_peace()
        return load.end()
    finally:
        load.kill()


def _judge_balances(stage: Stage, finding: Finding, rows: list[PostedCall]) -> None:
    for limit_id, project, kind in sorted(stage.limits):
        if kind is LimitKind.REQUESTS:  # a rate is no sum
            continue
        used, leased = stage.book.balance(limit_id)
        finding.hold(not leased, f"{leased} stay leased of {kind} though nobody calls")
        of_it = [row for row in rows if row.project_id == project]
        sums = {
            LimitKind.SPEND: sum(row.amount_picos for row in of_it),
            LimitKind.TOKENS: sum(row.prompt_tokens + row.completion_tokens for row in of_it),
        }
        if kind in sums:
            by_rows = sums[kind]
            finding.hold(used == by_rows, f"{kind}: {used} used by the balance, {by_rows} by the rows")


def _judge_budget(
    stage: Stage, finding: Finding, rows: list[PostedCall], away_us: list[tuple[int, int]]
) -> None:
    """It is never passed but by streams that ran on while the database was away: those may use more than they
    had on lease.
    """
    tight = [row for row in rows if row.project_id == stage.tight_project]
    ran_on = [
        row
        for row in tight
        if any(row.started_us <= until and since <= row.ended_us for since, until in away_us)
    ]
    finding.budget_picos = stage.budget_picos
    finding.spent_picos = sum(row.amount_picos for row in tight)
    excess = finding.spent_picos - stage.budget_picos
    allowed = sum(row.amount_picos for row in ran_on)
    finding.hold(excess <= allowed, f"a budget is passed by {excess} picos, by streams without an outage")


def _judge_what_it_says(stage: Stage, finding: Finding) -> None:
    finding.verified, wrong = verified(stage.data, stage.url)
    finding.hold(bool(finding.verified), "`metergate ledger verify` looked at nothing")
    finding.hold(not wrong, f"`metergate ledger verify` found faults: {'; '.join(wrong)}")
    quarantine = journal_root(stage.data) / "quarantine"
    kept = sorted(path.name for path in quarantine.glob("*")) if quarantine.exists() else []
    finding.hold(not kept, f"in quarantine: {kept}")
    words = stage.service.words()
    failed = len(_FAILED.findall(words))
    finding.hold(not failed, f"{failed} requests failed by a fault of ours: see the log")
    finding.tracebacks = words.count("Traceback")
