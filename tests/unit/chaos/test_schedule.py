"""What breaks when, by seed."""

from __future__ import annotations

import random
from collections import Counter

from chaos.schedule import LASTS_S, Kind, counts_of, schedule
from chaos.stage import Size


def test_a_seed_decides_what_breaks_and_when() -> None:
    """Guards against a red run that cannot be had again."""
    assert schedule(random.Random("1"), 60) == schedule(random.Random("1"), 60)
    assert schedule(random.Random("1"), 60) != schedule(random.Random("2"), 60)


def test_a_long_run_has_what_is_promised() -> None:
    """Guards against a `make chaos` with fewer than 50 kills of workers and 10 stops of the database."""
    counts = counts_of(Size().seconds)
    assert counts[Kind.KILL_WORKER] >= 50
    assert counts[Kind.STOP_DATABASE] >= 10


def test_even_a_short_run_has_everything() -> None:
    """Guards against a CI run that never fills the disk."""
    struck = Counter(incident.kind for incident in schedule(random.Random("1"), 5))
    assert set(struck) == set(Kind)


def test_incidents_come_in_time_and_mend() -> None:
    """Guards against what breaks after the end, or for ever."""
    incidents = schedule(random.Random("1"), 100)
    assert [incident.at_s for incident in incidents] == sorted(incident.at_s for incident in incidents)
    for incident in incidents:
        assert 0 <= incident.at_s < 100
        shortest, longest = LASTS_S.get(incident.kind, (0.0, 0.0))
        assert shortest <= incident.lasts_s <= longest
