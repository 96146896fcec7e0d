"""The control plane's own OpenAPI document, fuzzed by schemathesis as every role: no 500, and no answer that
the document does not foresee.

In CI the cases are the same each time; `make fuzz` looks further, with other ones each time.
"""

import collections
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from tests.integration.admin.questions import CHECKS, NOBODY, Question, Stage, questions, schema_of

IS_FUZZING = settings.get_current_profile_name() == "fuzz"
EXAMPLES = 9
"""Of each operation, in CI: more than there are roles, so that each role asks each operation."""
ON_POSTGRESQL = 3
"""There every third case is asked, too, by the operator: what differs is behind the roles."""
ANSWERED = 0.9
"""Of the operations, that somebody was answered 2xx: else the cases reach nothing."""


@pytest.fixture
def stages(sqlite_url: str, postgresql_url: str, tmp_path: Path) -> Iterator[tuple[Stage, Stage]]:
    """The app on each kind of database."""
    with Stage.on(sqlite_url, tmp_path) as embedded, Stage.on(postgresql_url, tmp_path) as server:
        yield embedded, server


class Findings:
    """What was answered, and what was wrong with it: each fault once, with its first case."""

    def __init__(self) -> None:
        self.faults: dict[tuple[str, str], str] = {}
        self.statuses: dict[str, collections.Counter[int]] = collections.defaultdict(collections.Counter)

    def look(self, stage: Stage, question: Question, who: str) -> None:
        """Asks, and looks at the answer."""
        operation = question.case.operation
        case, answer = stage.ask(question, who)
        self.statuses[operation.label][answer.status_code] += 1
        try:
            case.validate_response(answer, checks=CHECKS)
        except BaseExceptionGroup as failures:
            for one in failures.exceptions:
                self.faults.setdefault((operation.label, type(one).__name__), f"{who}: {failures}")
        if (
            who == NOBODY
            and operation.definition.raw.get("security")
            and answer.status_code not in (400, 401)
        ):
            self.faults.setdefault((operation.label, "open"), f"nobody is answered {answer.status_code}")


def looked_at(operation: Any, stages: tuple[Stage, Stage], findings: Findings) -> None:
    """Asks what is made of an operation: of every role in turn, and of nobody each time."""
    embedded, server = stages
    roles, turns = [who for who in embedded.plane.people if who != NOBODY], count()

    def ask(question: Question) -> None:
        turn = next(turns)
        findings.look(embedded, question, roles[turn % len(roles)])
        findings.look(embedded, question, NOBODY)
        if turn % ON_POSTGRESQL == 0:
            findings.look(server, question, "operator")

    wanted = settings.default if IS_FUZZING else settings(max_examples=EXAMPLES, derandomize=True)
    wanted = settings(wanted, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    wanted(given(questions(operation))(ask))()


@pytest.mark.timeout(0 if IS_FUZZING else 600)
def test_every_role_is_answered_as_the_document_says(stages: tuple[Stage, Stage]) -> None:
    """Guards against a value that nobody thought of: a number beyond 64 bits, half a character, a list of
    nothing; and against an answer that generated clients cannot read.
    """
    schema, findings = schema_of(stages[0].plane.app), Findings()
    for found in schema.get_all_operations():
        looked_at(found.ok(), stages, findings)
    faults = findings.faults.items()
    assert not faults, "\n\n".join(f"{where}: {what}"[:3000] for where, what in faults)
    answered = [any(status < 300 for status in of) for of in findings.statuses.values()]
    assert len(answered) > 100 and sum(answered) >= ANSWERED * len(answered), findings.statuses
