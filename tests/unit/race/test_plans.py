"""What a race's clients ask for, and what a race reports."""

from __future__ import annotations

import json
import random
from itertools import islice

from race.finding import Finding, table
from race.plan import Group, GroupReport, LoadReport, Traits, calls_of


def _calls(seed: str, count: int = 200) -> list[bytes]:
    group = Group("g", "a secret", 1, Traits())
    return [asked.request for asked in islice(calls_of(group, random.Random(seed)), count)]


def test_a_seed_decides_what_is_asked_for() -> None:
    """Guards against two runs of a seed that cannot be compared."""
    assert _calls("1/g/0") == _calls("1/g/0")
    assert _calls("1/g/0") != _calls("2/g/0")


def test_calls_are_mixed() -> None:
    """Guards against a race of one kind of call only."""
    bodies = [json.loads(request.partition(b"\r\n\r\n")[2]) for request in _calls("1/g/0")]
    for name in ("stream", "max_tokens", "n"):
        share = sum(1 for body in bodies if name in body) / len(bodies)
        assert 0.05 < share < 0.95, (name, share)


def test_a_request_is_whole_http() -> None:
    """Guards against a length that is not the body's."""
    for request in _calls("1/g/0", 20):
        head, _, body = request.partition(b"\r\n\r\n")
        assert f"content-length: {len(body)}".encode() in head


def test_a_promise_that_does_not_hold_is_red() -> None:
    """Guards against a table that shows a broken promise as a green one."""
    red, green = (
        Finding("budget", 1, "sqlite", {"spent": 1.1}),
        Finding("budget", 2, "sqlite", {"spent": 1.0}),
    )
    red.hold(False, "overspent")
    green.hold(True, "overspent")
    assert (red.violations, green.violations) == (["overspent"], [])
    lines = table([red, green]).splitlines()
    assert lines[3].endswith("RED") and lines[4].endswith("green")
    assert "  seed 1, sqlite: overspent" in lines


def test_counts_are_over_all_groups() -> None:
    """Guards against a report of the first group only."""
    groups = [GroupReport("a", admitted=2, refused={"x": 1}), GroupReport("b", admitted=3, refused={"x": 4})]
    report = LoadReport(groups, 0, 2_000_000, "time", 0, 0, 0, 0, {}, 0.0)
    assert (report.total("admitted"), report.refused("x"), report.seconds) == (5, 5, 2.0)
