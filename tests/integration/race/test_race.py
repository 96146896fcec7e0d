"""Short races, of each kind that `make race` runs with twenty seeds."""

from __future__ import annotations

import pytest

from race.__main__ import race
from race.databases import Databases
from race.finding import table

SECONDS = {"budget": 60, "rate": 20, "slots": 10, "crash": 60, "operations": 8, "fairness": 6}

# A race on a machine that does much else takes long to start, and its clients long to come to their end.
pytestmark = pytest.mark.timeout(420)


# `make race` runs each on both. Here the one that all others rest on does, and the rest take turns.
@pytest.mark.parametrize(
    ("scenario", "database"),
    [
        pytest.param("budget", "sqlite", marks=pytest.mark.heavy),
        pytest.param("budget", "postgresql", marks=[pytest.mark.heavy, pytest.mark.postgres]),
        pytest.param("rate", "sqlite", marks=pytest.mark.heavy),
        pytest.param("slots", "postgresql", marks=[pytest.mark.heavy, pytest.mark.postgres]),
        pytest.param("crash", "sqlite", marks=pytest.mark.heavy),
        pytest.param("operations", "postgresql", marks=[pytest.mark.alone, pytest.mark.postgres]),
    ],
)
def test_limits_hold_in_a_race(race_databases: Databases, scenario: str, database: str) -> None:
    """Guards against a limit that many workers pass together, that refuses what it could admit, that stays
    leased when nobody calls, or that costs the database a transaction for every call.
    """
    seed = 1 if database == "sqlite" else 2
    finding = race(race_databases, scenario, seed, database, seconds=SECONDS[scenario], sets_limits=True)
    assert not finding.violations, table([finding])


@pytest.mark.alone
@pytest.mark.postgres
def test_a_hot_tenant_starves_nobody(race_databases: Databases) -> None:
    """Guards against one tenant whose refused calls keep others from their own limits."""
    finding = race(race_databases, "fairness", 1, "postgresql", seconds=SECONDS["fairness"], sets_limits=True)
    assert not finding.violations, table([finding])


@pytest.mark.heavy
def test_a_race_can_be_lost(race_databases: Databases) -> None:
    """Guards against a harness that sees nothing: without any limit, it has to."""
    for scenario, what in (("budget", "overspent"), ("slots", "in flight at once")):
        finding = race(race_databases, scenario, 1, "sqlite", seconds=10, sets_limits=False)
        assert any(what in violation for violation in finding.violations), table([finding])
