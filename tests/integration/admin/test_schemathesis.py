"""The control plane's own OpenAPI document, fuzzed by schemathesis as every role: no 500, and no answer that
the document does not foresee.

In CI the cases are the same each time; `make fuzz` looks further, with other ones each time.
"""

import collections
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import FlakyStrategyDefinition

from tests.integration.admin.questions import (
    CHAINED,
    NOBODY,
    Question,
    Stage,
    checks_of,
    questions,
    schema_of,
)

IS_FUZZING = settings.get_current_profile_name() == "fuzz"
EXAMPLES = 7
"""Of each operation, in CI: as many as there are roles, so that each role asks each operation."""
CHAINS = 12
"""Of requests, in a round."""
ROUNDS_OF_CHAINS = 40
"""Of fuzzing; CI has as many as it takes until enough was made, most often one."""
ON_POSTGRESQL = 3
"""There every third case is asked, too, by the operator: what differs is behind the roles."""
ANSWERED = 0.75
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
        self.hold(case, answer, who, checks=checks_of(case))
        if (
            who == NOBODY
            and operation.definition.raw.get("security")
            and answer.status_code not in (400, 401)
        ):
            self.faults.setdefault((operation.label, "open"), f"nobody is answered {answer.status_code}")

    def hold(self, case: Any, answer: Any, who: str, **to: Any) -> None:
        """Looks at an answer that is there."""
        try:
            case.validate_response(answer, **to)
        except BaseExceptionGroup as failures:
            for one in failures.exceptions:
                self.faults.setdefault((case.operation.label, type(one).__name__), f"{who}: {failures}")

    def assert_none(self) -> None:
        """Tells all faults."""
        faults = self.faults.items()
        assert not faults, "\n\n".join(f"{where}: {what}"[:3000] for where, what in faults)


def looked_at(operation: Any, stages: tuple[Stage, Stage], findings: Findings) -> None:
    """Asks what is made of an operation: of every role in turn, and of nobody each time."""
    embedded, server = stages
    assert len(embedded.plane.people) == EXAMPLES + 1
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
    findings.assert_none()
    unanswered = [one for one, statuses in findings.statuses.items() if min(statuses) >= 300]
    assert len(findings.statuses) > 100
    assert len(unanswered) <= (1 - ANSWERED) * len(findings.statuses), unanswered


@pytest.mark.timeout(0 if IS_FUZZING else 600)
def test_what_is_made_is_there_and_what_is_deleted_is_not(sqlite_url: str, tmp_path: Path) -> None:
    """Guards against a thing that is made and not found, or deleted and found, on the ways between routes
    that schemathesis sees in the document; of an owner, in a ledger in which things stay.
    """
    with Stage.on(sqlite_url, tmp_path, is_undone=False) as stage:
        findings, answered = Findings(), collections.Counter[int]()

        class Chains(schema_of(stage.plane.app).as_state_machine()):  # type: ignore[misc]
            """Requests one after another, each with what came of those before."""

            def call(self, case: Any, **_: Any) -> Any:
                made_up = {"If-Match", "OpenAI-Organization"}
                case.headers = {one: of for one, of in (case.headers or {}).items() if one not in made_up}
                answer = stage.send(case, "owner")
                answered[answer.status_code] += 1
                return answer

            def validate_response(self, response: Any, case: Any, *_: Any, **__: Any) -> None:
                findings.hold(case, response, "owner", checks=CHAINED, recorder=self.recorder)

        wanted = settings(
            max_examples=CHAINS, stateful_step_count=8, database=None, derandomize=not IS_FUZZING,
            phases=[Phase.generate], suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        for _ in range(ROUNDS_OF_CHAINS):
            with suppress(FlakyStrategyDefinition):  # what stays from chain to chain changes what can follow
                Chains.run(settings=wanted)
            if not IS_FUZZING and answered[200] + answered[201] >= CHAINS:
                break
        findings.assert_none()
        assert answered[200] + answered[201] >= CHAINS, answered
