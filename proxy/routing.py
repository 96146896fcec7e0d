"""Which replica gets the call. pure.

Owns the choice among replicas that are known to serve the model; must know neither health checks nor sockets.
"""

from collections.abc import Sequence
from typing import Protocol, TypeVar


class Replica(Protocol):
    """What routing looks at: how many calls a replica has in flight from here."""

    @property
    def in_flight(self) -> int: ...


R = TypeVar("R", bound=Replica)


def pick(replicas: Sequence[R], tried: Sequence[R] = ()) -> R | None:
    """The least busy replica that has not been tried; the first of equals; None if none is left."""
    if len(replicas) == 1 and not tried:
        return replicas[0]
    left = [replica for replica in replicas if replica not in tried]
    return min(left, key=lambda replica: replica.in_flight, default=None)
