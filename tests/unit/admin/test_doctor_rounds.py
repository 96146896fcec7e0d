"""Looks at the same time, within one bound."""

import threading

from admin.doctor.finding import Check, Finding, Look, State, Tell, ok, worst, wrong
from admin.doctor.rounds import go_round
from ledger.errors import DatabaseUnavailable


def test_a_look_that_hangs_costs_its_bound_and_keeps_what_it_told() -> None:
    """Guards against a frozen disk or database that keeps an operator from every other finding."""
    go_on = threading.Event()

    def hang(tell: Tell) -> None:
        tell(ok(Check.SCHEMA, "it fits"))
        go_on.wait(30)
        tell(ok(Check.DATABASE, "too late"))

    done = go_round(
        [Look(Check.DATABASE, hang, "db"), Look(Check.CLOCK, lambda tell: tell(ok(Check.CLOCK, "it ticks")))],
        seconds=0.05,
    )
    findings = list(done.findings)
    go_on.set()
    assert [(each.check, each.state) for each in findings] == [
        (Check.SCHEMA, State.OK),
        (Check.DATABASE, State.WRONG),
        (Check.CLOCK, State.OK),
    ]
    assert findings[1].about == "db"
    assert done.is_left
    assert done.findings == findings, "what comes after the bound is nobody's"


def test_looks_run_at_the_same_time() -> None:
    """Guards against a round that takes as long as all its looks together."""
    meeting = threading.Barrier(3, timeout=10)

    def meet(tell: Tell) -> None:
        meeting.wait()
        tell(ok(Check.ENGINE, "they met"))

    done = go_round([Look(Check.ENGINE, meet)] * 3, seconds=10)
    assert [each.state for each in done.findings] == [State.OK] * 3
    assert not done.is_left


def test_a_look_that_fails_is_a_finding() -> None:
    """Guards against one unreadable file, or one fault of ours, that ends the whole examination."""

    def unavailable(_: Tell) -> None:
        raise DatabaseUnavailable("the ledger database x: gone")

    def unreadable(_: Tell) -> None:
        raise PermissionError(13, "Permission denied", "/x")

    def mistaken(_: Tell) -> None:
        raise KeyError("y")

    looks = [
        Look(Check.DATABASE, unavailable),
        Look(Check.FILE_MODES, unreadable),
        Look(Check.CLOCK, mistaken),
    ]
    done = go_round(looks, seconds=10)
    assert [(each.check, each.state) for each in done.findings] == [
        (Check.DATABASE, State.WRONG),
        (Check.FILE_MODES, State.WRONG),
        (Check.CLOCK, State.NOTE),
    ]
    assert "gone" in done.findings[0].fact and "/x" in done.findings[1].fact
    assert all(each.do for each in done.findings)


def test_the_whole_is_as_bad_as_its_worst() -> None:
    noted = Finding(Check.CLOCK, State.NOTE, "")
    assert worst([]) is State.OK
    assert worst([ok(Check.CLOCK, ""), noted]) is State.NOTE
    assert worst([noted, wrong(Check.CLOCK, "", ""), ok(Check.CLOCK, "")]) is State.WRONG
