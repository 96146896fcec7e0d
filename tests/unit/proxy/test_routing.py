"""The choice among replicas."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from proxy.routing import pick


@dataclass(eq=False)
class Replica:
    in_flight: int


LOADS = st.lists(st.integers(0, 3), max_size=6)


@given(LOADS)
def test_the_least_busy_replica_is_picked(loads: list[int]) -> None:
    """Equal replicas are taken in their order, so that a test and an operator can tell which it was."""
    replicas = [Replica(load) for load in loads]
    picked = pick(replicas)
    if not replicas:
        assert picked is None
    else:
        assert picked is replicas[loads.index(min(loads))]


@given(LOADS)
def test_each_replica_is_tried_once(loads: list[int]) -> None:
    """A retry that comes back to a dead replica goes round for ever."""
    replicas = [Replica(load) for load in loads]
    tried: list[Replica] = []
    while (picked := pick(replicas, tried)) is not None:
        assert picked not in tried
        tried.append(picked)
    assert len(tried) == len(replicas)
