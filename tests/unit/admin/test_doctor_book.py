"""What is made of a ledger's answers."""

import pytest

from admin.doctor.book import of_reconciliation, of_server
from admin.doctor.finding import Check, State
from ledger.reconciliation.arithmetic import Tokens
from ledger.reconciliation.links import Standing
from ledger.vitals import Server

NOW_US = 1_800_000_000_000_000
HOUR_US = 3_600_000_000


def server(skew_us: int = 0, in_use: int = 10, latency_s: float = 0.001) -> Server:
    return Server("PostgreSQL 18.1", latency_s, NOW_US + skew_us, NOW_US, in_use, 100)


def states(found: Server) -> dict[Check, State]:
    return {each.check: each.state for each in of_server("postgresql://db/ledger", found)}


@pytest.mark.parametrize(
    ("skew_us", "state"),
    [(0, "ok"), (-1_900_000, "ok"), (2_100_000, "note"), (-59_000_000, "note"), (61_000_000, "wrong")],
)
def test_a_clock_that_is_off_is_told(skew_us: int, state: str) -> None:
    """Guards against usage of two hosts in each other's hours."""
    assert states(server(skew_us))[Check.DATABASE_CLOCK] == state


def test_a_database_without_room_for_another_worker_is_told() -> None:
    assert states(server(in_use=90))[Check.DATABASE_CONNECTIONS] is State.OK
    assert states(server(in_use=91))[Check.DATABASE_CONNECTIONS] is State.NOTE


def test_a_slow_database_is_told() -> None:
    assert states(server(latency_s=0.2))[Check.DATABASE] is State.NOTE


def test_tokens_that_no_call_explains_and_an_old_comparison_are_told() -> None:
    """Guards against engines that are used past metergate."""

    def state(*compared: Standing, calls: int = 1) -> list[State]:
        return [each.state for each in of_reconciliation(list(compared), calls, NOW_US)]

    assert state() == [State.NOTE] and state(calls=0) == [State.OK]
    tied = Standing("http://e", "m", checked_us=NOW_US - 60_000_000)
    old = Standing("http://e", "m", checked_us=NOW_US - 2 * HOUR_US)
    stolen = Standing("http://e", "m", unexplained=Tokens(0, 7), checked_us=NOW_US)
    assert state(tied, old, stolen) == [State.OK, State.NOTE, State.NOTE]
