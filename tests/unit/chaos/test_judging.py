"""What the judge of the chaos lets pass, and what not. Guards against a suite that cannot be lost."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chaos.counted import EngineCall
from chaos.judge import Judge, Verdict, told_tokens
from chaos.plan import CHAT, CallReport, Leaving
from race.book import PostedCall

ROW = PostedCall("r1", "k", 1, 2, 7, 10, 0, "finished", "p", True, "final", "c1")
CALL = EngineCall("r1", CHAT, True, 1, 7, 10, 11, "finished")
LIMITED = replace(ROW, ending="limit_reached", usage_source="running")
CUT = replace(ROW, ending="killed", usage_source="recovered", completion_tokens=6)
RUNNING = replace(CALL, ended="aborted", generated_tokens=9, chunks_sent=10)


def given(tokens: int) -> CallReport:
    return CallReport("c1", "g", True, True, 1, Leaving.NEVER, False, 200, "", "r1", tokens, 100)


def refused(status: int, code: str) -> CallReport:
    return CallReport("c1", "g", True, True, 1, Leaving.NEVER, False, status, code, "r1", 0, 100, whole=True)


def answered(tokens: int) -> CallReport:
    return CallReport("c1", "g", True, True, 1, Leaving.NEVER, False, 200, "", "r1", tokens, 100, whole=True)


GIVEN = answered(10)


def judged(row: PostedCall | None, call: EngineCall | None, report: CallReport) -> Verdict:
    return Judge([row] if row else [], [call] if call else [], [report]).verdict()


@pytest.mark.parametrize(
    ("row", "call", "report"),
    [
        (ROW, CALL, GIVEN),
        (CUT, RUNNING, given(6)),  # killed: between what was given and what was on the wire
        (CUT, RUNNING, given(3)),
        (replace(CUT, usage_source="unresolved", completion_tokens=0), RUNNING, given(0)),
        (None, replace(CALL, generated_tokens=0, ended="aborted"), given(0)),
        (None, replace(CALL, ended="running"), given(0)),
        (replace(CUT, ending="engine_died"), replace(RUNNING, ended="died", chunks_sent=7), given(6)),
        (replace(CUT, ending="engine_died"), replace(RUNNING, ended="running"), given(5)),
        (replace(CUT, completion_tokens=0, usage_source="unresolved"), None, given(0)),
        # Answered whole, its record in memory for a full disk, and then killed.
        (replace(CUT, completion_tokens=10), CALL, GIVEN),
        # The last of the ten events that the client counts is metergate's own.
        (replace(LIMITED, completion_tokens=9), RUNNING, GIVEN),
        (None, replace(RUNNING, chunks_sent=0), given(0)),
        # Its engine stood still for longer than a first byte may take, and went on when it was given up.
        (None, RUNNING, refused(504, "engine_timeout")),
    ],
)
def test_what_is_right_passes(row: PostedCall | None, call: EngineCall | None, report: CallReport) -> None:
    verdict = judged(row, call, report)
    assert not verdict.violations
    assert (verdict.lost, verdict.twice) == (0, 0)


@pytest.mark.parametrize(
    ("row", "call", "report", "lost", "twice", "words"),
    [
        (replace(ROW, completion_tokens=9), CALL, given(9), 0, 0, "not the engine's count"),
        (replace(ROW, completion_tokens=9), CALL, GIVEN, 1, 0, "less in the ledger"),
        (replace(ROW, completion_tokens=12), CALL, GIVEN, 0, 2, "more in the ledger"),
        (replace(ROW, prompt_tokens=14), CALL, GIVEN, 0, 0, "another prompt"),
        (None, CALL, GIVEN, 10, 0, "without a row"),
        (None, CALL, given(0), 0, 0, "without a row"),
        (CUT, RUNNING, given(8), 2, 0, "less in the ledger"),
        (replace(CUT, completion_tokens=9), replace(RUNNING, chunks_sent=9), given(3), 0, 0, "on the wire"),
        (replace(ROW, ending="client_left", usage_source="running"), RUNNING, given(3), 0, 1, "more in"),
        (
            replace(CUT, ending="client_left", usage_source="running"),
            RUNNING,
            given(3),
            0,
            0,
            "not the engine's count",
        ),
        (replace(ROW, usage_source="unresolved", completion_tokens=0), CALL, given(0), 0, 0, "unresolved"),
        (ROW, None, GIVEN, 0, 0, "without a call of an engine"),
        (replace(ROW, end_user="c2"), CALL, GIVEN, 10, 0, "no client made"),
        (CUT, RUNNING, GIVEN, 4, 0, "less in the ledger"),
        (replace(CUT, completion_tokens=9), CALL, answered(9), 0, 0, "lost count"),
        (replace(LIMITED, completion_tokens=8), RUNNING, GIVEN, 1, 0, "less in the ledger"),
        (
            replace(LIMITED, ending="client_left", completion_tokens=9),
            RUNNING,
            answered(9),
            0,
            0,
            "no fin",
        ),
        (None, replace(RUNNING, chunks_sent=0, streamed=False), given(0), 0, 0, "without a row"),
        (None, replace(CALL, streamed=False), refused(504, "engine_timeout"), 0, 0, "without a row"),
        (None, RUNNING, refused(503, "engine_unavailable"), 0, 0, "without a row"),
    ],
)
def test_what_is_wrong_does_not(
    row: PostedCall | None, call: EngineCall | None, report: CallReport, lost: int, twice: int, words: str
) -> None:
    verdict = judged(row, call, report)
    assert any(words in violation for violation in verdict.violations), verdict.violations
    assert (verdict.lost, verdict.twice) == (lost, twice)


def test_a_call_that_is_posted_twice_is_seen() -> None:
    """By its request id, and by the client's name for it under two request ids."""
    verdict = Judge([ROW, ROW], [CALL], [GIVEN]).verdict()
    assert verdict.twice and any("request id in more than one row" in what for what in verdict.violations)
    again = replace(ROW, request_id="r2")
    verdict = Judge([ROW, again], [CALL, replace(CALL, request_id="r2")], [GIVEN]).verdict()
    assert verdict.twice == 10 and any("call in more than one row" in what for what in verdict.violations)


def test_what_was_on_the_wire_is_told_by_the_chunks() -> None:
    """Guards against roles that are taken for tokens, and unstreamed calls for streams."""
    assert told_tokens(RUNNING, 1) == 9
    assert told_tokens(replace(RUNNING, chunks_sent=2), 3) == 0
    assert told_tokens(replace(RUNNING, endpoint="/v1/completions"), 1) == 10
    assert told_tokens(replace(RUNNING, streamed=False), 1) == 0
