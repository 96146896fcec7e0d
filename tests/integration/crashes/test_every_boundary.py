"""kill -9 at every boundary of settlement, journal, recovery and posting: each call is in the book once.

The sweeps try the steps of fixed scripts one after the other, each whole and torn. The property test draws
scripts, deaths, and deaths in the recovery from them.

All of our own steps are tried each time; of SQLite's, which are more, every fifth, to be quick.
`CRASHES=long` tries all of them and every pair of deaths, draws for some minutes, and has strace say whether
there are steps that are not counted here.
"""

import itertools
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.integration.crashes.boundaries import Death
from tests.integration.crashes.story import SLOTS, Book, Step, Story
from tests.integration.crashes.traced import comparable

IS_LONG = os.environ.get("CRASHES") == "long"
SQLITES_TRIED = 1 if IS_LONG else 5

SCRIPT = (
    Step("begin", 1),
    Step("begin", 2),
    Step("count", 1, 10, 1),
    Step("settle", 1, 10, 4),
    Step("post"),
    Step("begin", 3),
    Step("count", 2, 7, 2),
    Step("drop", 3),
    Step("settle", 2, 7, 8),
    Step("begin", 4),
    Step("begin", 5),
    Step("count", 4, 3, 3),
    Step("post"),
)
"""Two calls are settled, one comes to nothing, two are left in flight; one has a long name."""
CUT_SHORT = (*SCRIPT[:-1], Step("die"))
"""The same, and it dies with a settled call that is not posted, two in flight, and its leases."""

pytestmark = pytest.mark.timeout(36_000 if IS_LONG else 900)


@pytest.fixture(scope="module")
def book(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Book:
    return Book.make(sqlite_template, tmp_path_factory.mktemp("crashes") / "book.db")


@pytest.fixture
def stories(book: Book) -> Iterator[Story]:
    """Fresh ones, as many as are asked for."""
    return (Story(book) for _ in itertools.count())


def deaths(names: Sequence[str]) -> Iterator[Death]:
    """Before each of these steps, and in the middle of each that can be done in part."""
    for at, name in enumerate(names, 1):
        if name.startswith("SQLite") and at % SQLITES_TRIED:
            continue
        yield Death(at)
        if "write" in name and (IS_LONG or not name.startswith("SQLite")):
            yield Death(at, 0.5)


def test_a_worker_and_its_poster_die_at_every_step(stories: Iterator[Story]) -> None:
    """Guards against the one instant in which a call is nowhere, or in two places."""
    with next(stories) as story:
        names = story.live(SCRIPT).steps
    for death in deaths(names):
        with next(stories) as story:
            story.live(SCRIPT, death)
            story.rest(by_poster=death.at % 2 == 0)
            story.check()


def test_a_recovery_dies_at_every_step(stories: Iterator[Story]) -> None:
    """Guards against a crash after a crash: what was half recovered is lost, or is recovered under another
    name.
    """
    for by_poster in (False, True):
        with next(stories) as story:
            story.live(CUT_SHORT)
            names = story.rest(by_poster=by_poster).steps
        for death in deaths(names):
            if IS_LONG or (death.at % 2 == 0) is by_poster:
                with next(stories) as story:
                    story.live(CUT_SHORT)
                    story.rest(death, by_poster=by_poster)
                    story.rest(by_poster=not by_poster)
                    story.check()


def test_the_steps_are_seen(stories: Iterator[Story]) -> None:
    """Guards against a sweep over nothing: a step that is made in another way is not counted any more."""
    with next(stories) as story:
        counted = Counter(story.live(SCRIPT).steps)
    # Two segments that are full and one that ends; the flight recorder, the holder and two cursors.
    ours = {
        "open": 8,
        "write": 8,
        "mapped write": 6,
        "mapped word": 30,
        "replace": 3,
        "rename": 1,
        "unlink": 1,
    }
    assert all(counted[name] >= count for name, count in ours.items()), counted
    assert counted["fdatasync"] >= 2 and counted["fsync"] >= 4, counted
    assert counted["SQLite pwrite64"] + counted["SQLite pwrite"] >= 30, counted


@st.composite
def scripts(draw: st.DrawFn) -> list[Step]:
    """Any order in which calls can come, be counted and end, with postings anywhere."""
    steps: list[Step] = []
    running: dict[int, tuple[int, int]] = {}
    for call in range(1, draw(st.integers(1, SLOTS)) + 1):
        running[call] = (0, 0)
        steps.append(Step("begin", call))
        for _ in range(draw(st.integers(0, 4))):
            if not running or draw(st.integers(0, 4)) == 0:
                steps.append(Step("post"))
                continue
            number = draw(st.sampled_from(sorted(running)))
            what = draw(st.sampled_from(["count", "count", "settle", "settle", "drop"]))
            prompt, completion = running[number]
            counts = (prompt or draw(st.integers(1, 50))), completion + draw(st.integers(1, 9))
            steps.append(Step(what, number, *counts) if what != "drop" else Step(what, number))
            running[number] = counts
            if what != "count":
                del running[number]
    return steps


DEATHS = st.builds(Death, st.integers(0, 330), st.sampled_from([0.0, 0.1, 0.5, 0.99]))


@settings(max_examples=3000 if IS_LONG else 15, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    lives=st.lists(st.tuples(scripts(), DEATHS), min_size=1, max_size=3),
    recoveries=st.lists(st.tuples(DEATHS, st.booleans()), max_size=2),
)
def test_whatever_is_done_and_whenever_it_dies_each_call_is_booked_once(
    book: Book, lives: Sequence[tuple[list[Step], Death]], recoveries: Sequence[tuple[Death, bool]]
) -> None:
    """Guards against what no fixed script has: an order of ends and postings, and crash upon crash."""
    with Story(book) as story:
        for script, death in lives:
            story.live(script, death)
        for death, by_poster in recoveries:
            story.rest(death, by_poster=by_poster)
        story.rest(by_poster=True)
        story.check()


if IS_LONG:

    def test_every_pair_of_deaths(stories: Iterator[Story]) -> None:
        """Guards against what only two crashes in a row can do: the product of both sweeps."""
        with next(stories) as story:
            names = story.live(SCRIPT).steps
        for first in deaths(names):
            with next(stories) as story:
                story.live(SCRIPT, first)
                then = story.rest(by_poster=True).steps
            for second in deaths(then):
                with next(stories) as story:
                    story.live(SCRIPT, first)
                    story.rest(second, by_poster=second.at % 2 == 0)
                    story.rest(by_poster=True)
                    story.check()

    def test_no_step_is_made_that_is_not_counted(stories: Iterator[Story], tmp_path: Path) -> None:
        """Guards against steps that the sweeps do not see. Needs strace."""
        with next(stories) as story:
            told, traced = story.live_traced(SCRIPT, tmp_path / "trace")
            assert traced == comparable(told.steps)
