"""Made-up histories of an engine: what it counted when, what came of each call, and what was seen of it.

The engine counts every token at an instant of its own. A call's row has what was told of it, with times by
the clock of some proxy. `sums_between` and `edge_at` are what the ledger says of rows, written down plainly:
the statements of ledger/reconciliation/sums.py are held to them.
"""

import random
from collections.abc import Iterable
from dataclasses import dataclass, field

from hypothesis import strategies as st

from ledger.reconciliation.arithmetic import MARGIN_US, NO_TOKENS, Alike, Edge, Sums, Tokens
from ledger.reconciliation.lives import Sample
from ledger.record import CallRecord, Ending
from ledger.usage import UsageSource
from tests.records import NOON_US, a_record

BACKEND = "http://127.0.0.1:8000"
SECOND_US = 1_000_000
POSTED_LATE_US = 100 * SECOND_US
"""How long after its last sign of life a killed call's row is posted, at the latest."""

FINISHED = (Ending.FINISHED, UsageSource.FINAL)
LEFT = (Ending.CLIENT_LEFT, UsageSource.RUNNING)
KILLED = (Ending.KILLED, UsageSource.RECOVERED)
LOST = (Ending.ENGINE_DIED, UsageSource.UNRESOLVED)


@dataclass(frozen=True, slots=True)
class Counted:
    """One step of the engine's counters."""

    at_us: int
    tokens: Tokens


@dataclass
class Life:
    """One life of the engine: [born_us, died_us)."""

    born_us: int
    died_us: int
    steps: list[Counted] = field(default_factory=list)

    def tokens(self, at_us: int) -> Tokens:
        """The counters at an instant."""
        total = Tokens()
        for step in self.steps:
            if step.at_us <= at_us:
                total += step.tokens
        return total


@dataclass
class History:
    """All that happened. `foreign`: what was counted for others than us."""

    lives: list[Life]
    records: list[CallRecord] = field(default_factory=list)
    foreign: Tokens = NO_TOKENS
    samples: list[Sample] = field(default_factory=list)


def alike(record: CallRecord) -> Alike:
    """A group of one call."""
    fold = record.choices_per_prompt
    return Alike(
        record.usage_source,
        record.ending,
        record.backend.startswith("https:"),
        1,
        fold,
        record.prompt_tokens,
        record.prompt_tokens * fold,
        record.completion_tokens,
    )


def over_us(record: CallRecord) -> int:
    """When the engine was done with it, at the latest: the time of a kill is not known."""
    return record.ended_us + (POSTED_LATE_US if record.ending is Ending.KILLED else 0)


def sums_between(records: Iterable[CallRecord], after_us: int, until_us: int) -> Sums:
    """The calls that started in (after_us, until_us]."""
    return Sums.of(alike(record) for record in records if after_us < record.started_us <= until_us)


def edge_at(records: Iterable[CallRecord], asked_us: int, at_us: int) -> Edge:
    """The calls across a moment."""
    across = [
        record
        for record in records
        if record.started_us <= at_us + MARGIN_US and over_us(record) >= asked_us - MARGIN_US
    ]
    before = Sums.of(alike(record) for record in across if record.started_us <= at_us)
    after = Sums.of(alike(record) for record in across if record.started_us > at_us)
    return Edge(before.most, after.most, before.unknown_calls + after.unknown_calls)


def histories(*, lives: int = 3, foreign: bool = False, quiet: bool = False) -> st.SearchStrategy[History]:
    """Lives with calls in them. `quiet`: no call is near a sample, and all are told whole.

    Drawn from one seed: a history is hundreds of small numbers, and drawing each costs hypothesis seconds.
    """
    return st.integers(0, 1 << 32).map(lambda seed: made_up(random.Random(seed), lives, foreign, quiet))


def made_up(drawn: random.Random, lives_max: int, foreign: bool, quiet: bool) -> History:
    """One history."""
    made = History([])
    born_us = NOON_US
    for _ in range(drawn.randint(1, lives_max)):
        died_us = born_us + drawn.randint(5 * SECOND_US, 120 * SECOND_US)
        made.lives.append(Life(born_us, died_us))
        born_us = died_us + drawn.randint(3 if quiet else 0, 20) * SECOND_US
    for life in made.lives:
        for _ in range(drawn.randint(0, 8)):
            _call(drawn, made, life, quiet)
        for _ in range(drawn.randint(0, 3) if foreign else 0):
            tokens = Tokens(drawn.randint(0, 50), drawn.randint(0, 50))
            life.steps.append(Counted(drawn.randint(life.born_us, life.died_us - 1), tokens))
            made.foreign += tokens
    for number, life in enumerate(made.lives):
        _look(drawn, made, life, number, quiet)
    return made


def _call(drawn: random.Random, made: History, life: Life, quiet: bool) -> None:
    """One call, on the engine in this life; its row's times are off by half of what clocks may differ."""
    began_us = drawn.randint(life.born_us + (2 * SECOND_US if quiet else 0), life.died_us - 1)
    over = began_us + drawn.randint(0, (5 if quiet else 60) * SECOND_US)
    done_us = min(over, life.died_us - 1)
    ending, source = FINISHED if quiet else drawn.choice([FINISHED, FINISHED, LEFT, LEFT, KILLED, LOST])
    if over >= life.died_us and not quiet and source is UsageSource.FINAL:
        ending, source = Ending.ENGINE_DIED, UsageSource.RUNNING
    fold, prompt, told = drawn.randint(1, 3), drawn.randint(1, 20), 0
    is_whole = source is UsageSource.FINAL
    for _ in range(fold if is_whole else drawn.randint(1, fold)):
        life.steps.append(Counted(drawn.randint(began_us, done_us), Tokens(prompt, 0)))
        for _ in range(drawn.randint(0, 4)):
            life.steps.append(Counted(drawn.randint(began_us, done_us), Tokens(0, 1)))
            told += 1
        life.steps.append(Counted(done_us, Tokens(0, 0 if is_whole else drawn.randint(0, 2))))
    is_known = source is not UsageSource.UNRESOLVED
    skew_us = 0 if quiet else drawn.randint(-MARGIN_US // 2, MARGIN_US // 2)
    ended_us = done_us + skew_us
    if ending is Ending.KILLED:  # the time of a kill is not known: the last sign of life is what the row has
        ended_us = drawn.randint(began_us + skew_us, ended_us)
    made.records.append(
        a_record(
            started_us=began_us + skew_us,
            ended_us=ended_us,
            backend=BACKEND,
            ending=ending,
            usage_source=source,
            prompt_tokens=prompt if is_known else 0,
            cached_prompt_tokens=0,
            completion_tokens=told if is_known else 0,
            choices_per_prompt=fold,
        )
    )


def _look(drawn: random.Random, made: History, life: Life, number: int, quiet: bool) -> None:
    """Samples of one life, some of which are lost; unless it is to be quiet, some just when a call begins."""
    asked = [life.born_us + drawn.randint(0, 3 * SECOND_US)]
    while asked[-1] < life.died_us:
        asked.append(asked[-1] + drawn.randint(2 * SECOND_US, 30 * SECOND_US))
    if not quiet:
        asked += [r.started_us + drawn.randint(-SECOND_US, SECOND_US) for r in made.records]
    for asked_us in asked:
        read_us = asked_us + drawn.randint(0, 400_000)
        at_us = read_us + drawn.randint(0, 400_000)
        near_us = 3 * SECOND_US
        is_near = any(r.started_us - near_us <= at_us <= r.ended_us + near_us for r in made.records)
        if not life.born_us <= asked_us <= at_us < life.died_us or (quiet and is_near):
            continue
        if drawn.random() < 0.7:
            tokens = life.tokens(read_us)
            made.samples.append(
                Sample(BACKEND, "tiny", at_us, asked_us, life.born_us + number, life.born_us, tokens, 0)
            )
