"""Short chaos: what `make chaos` shows in many minutes, in a few seconds on each database."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chaos.report import shown
from chaos.run import run
from chaos.schedule import Kind
from chaos.stage import Size
from race.databases import Databases

SHORT = Size(seconds=8, clients=12, workers=2, replicas=2)
KILLS_ALONE = replace(SHORT, kinds=frozenset({Kind.KILL_WORKER}))

# A machine that does much else takes long to start everything again and again.
pytestmark = [pytest.mark.heavy, pytest.mark.timeout(420)]


@pytest.mark.parametrize("database", ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def test_no_token_is_lost_and_none_is_there_twice(chaos_databases: Databases, database: str) -> None:
    """Guards against a token that a client was given and nobody is billed for, or is billed for twice,
    whatever is killed, stopped, full or frozen; and against counts that are not the engines'.
    """
    finding = run(chaos_databases, database, 1, SHORT)
    assert not finding.violations, shown(finding)
    assert finding.verdict.in_ledger and finding.verdict.relayed, shown(finding)
    assert finding.in_flight_at_kills, shown(finding)


def test_the_chaos_can_be_lost(chaos_databases: Databases) -> None:
    """Guards against a suite that sees nothing: without flight recorders a kill loses calls."""
    finding = run(chaos_databases, "sqlite", 1, KILLS_ALONE, recovers=False)
    assert finding.in_flight_at_kills, shown(finding)
    assert any("without a row" in violation for violation in finding.violations), shown(finding)
