"""What breaks, and when: drawn from a seed.

Pure. Each kind of incident is spread over the whole time, with its moment and its length drawn; kinds know
nothing of each other, so that they fall together as they like.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from chaos.plan import Dice


class Kind(StrEnum):
    """What can break."""

    KILL_WORKER = "kill a worker"
    KILL_POSTER = "kill the poster"
    KILL_SUPERVISOR = "kill the supervisor"  # its children notice
    KILL_ALL = "kill everything"  # as a host's end does
    DRAIN = "drain and start again"
    STOP_DATABASE = "stop the database"
    FILL_DISK = "fill the disk"
    KILL_ENGINE = "kill an engine"
    FREEZE_ENGINE = "freeze an engine"
    FAULT_ENGINE = "faults in an engine"


@dataclass(frozen=True, slots=True)
class Incident:
    """One thing that breaks. `lasts_s` 0: it mends by itself. `pick`: from 0 up to 1, what else is to be
    drawn."""

    at_s: float
    kind: Kind
    lasts_s: float
    pick: float


LASTS_S: Final[Mapping[Kind, tuple[float, float]]] = {
    Kind.STOP_DATABASE: (1.0, 7.0),
    Kind.FILL_DISK: (2.0, 6.0),
    Kind.KILL_ENGINE: (0.5, 5.0),
    Kind.FREEZE_ENGINE: (1.0, 7.0),
}

PER_MINUTE: Final[Mapping[Kind, float]] = {
    Kind.KILL_WORKER: 9.0,
    Kind.KILL_POSTER: 1.0,
    Kind.KILL_SUPERVISOR: 0.35,
    Kind.KILL_ALL: 0.35,
    Kind.DRAIN: 0.7,
    Kind.STOP_DATABASE: 1.8,
    Kind.FILL_DISK: 0.5,
    Kind.KILL_ENGINE: 2.0,
    Kind.FREEZE_ENGINE: 0.7,
    Kind.FAULT_ENGINE: 12.0,
}
"""Six minutes and a little more are 50 kills of workers and 10 stops of the database, and of the rest in
proportion. Each kind strikes at least once.
"""


def counts_of(seconds: float) -> dict[Kind, int]:
    """How often each kind strikes in a run of that length."""
    return {kind: max(1, round(rate * seconds / 60)) for kind, rate in PER_MINUTE.items()}


def schedule(dice: Dice, seconds: float) -> list[Incident]:
    """Every incident of one run, the earliest first."""
    incidents = []
    for kind, count in counts_of(seconds).items():
        shortest, longest = LASTS_S.get(kind, (0.0, 0.0))
        for number in range(count):
            at_s = (number + dice.random()) * seconds / count
            lasts_s = shortest + (longest - shortest) * dice.random()
            incidents.append(Incident(at_s, kind, lasts_s, dice.random()))
    return sorted(incidents, key=lambda incident: incident.at_s)
