"""Which differences between an engine's counter and the ledger are explained, and which are not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chaos.captured import Capture, Group, judge, shown
from chaos.plan import CallReport, Leaving
from race.book import PostedCall

ROW = PostedCall("r1", "k", 1, 2, 7, 10, 0, "finished", "p", True, "final", "c1")
LEFT = replace(ROW, ending="client_left", usage_source="running")
KILLED = replace(ROW, ending="killed", usage_source="recovered")


def report(tokens: int = 5) -> CallReport:
    return CallReport("c1", "g", True, True, 1, Leaving.NEVER, False, 200, "", "r1", tokens, 100)


def judged(kind: str, generated: int, row: PostedCall | None, tokens: int = 5) -> Capture:
    result = Capture([Group(0, kind, [report(tokens)], generated)], 0, 0)
    judge(result, {} if row is None else {row.end_user: row})
    return result


@pytest.mark.parametrize(
    ("kind", "generated", "row"),
    [("calm", 10, ROW), ("left", 10, LEFT), ("left", 12, LEFT), ("killed", 17, KILLED)],
)
def test_what_is_explained_passes(kind: str, generated: int, row: PostedCall) -> None:
    result = judged(kind, generated, row)
    assert not result.violations
    assert "GREEN" in shown(result)


@pytest.mark.parametrize(
    ("kind", "generated", "row", "tokens"),
    [
        ("calm", 11, ROW, 5),  # nobody left, nothing was killed
        ("left", 13, LEFT, 5),  # more than an abort leaves untold
        ("left", 11, ROW, 5),  # but nobody left by the book
        ("killed", 9, KILLED, 5),  # more than the engine made
        ("killed", 17, KILLED, 11),  # less than the client was given
        ("calm", 5, None, 5),  # not in the book at all
    ],
)
def test_what_is_not_explained_does_not(
    kind: str, generated: int, row: PostedCall | None, tokens: int
) -> None:
    """Guards against a capture rate that explains everything away."""
    result = judged(kind, generated, row, tokens)
    assert result.violations
    assert "RED" in shown(result)
