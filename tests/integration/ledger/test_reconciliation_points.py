"""Points from turn to turn, on both databases: the same as a comparison over all of it."""

import random

import pytest
from sqlalchemy import text

from ledger.database import Database
from ledger.periods import HOUR_US
from ledger.reconciliation import links, points, samples
from ledger.reconciliation.arithmetic import NO_TOKENS, Tokens
from ledger.reconciliation.checks import compare
from ledger.reconciliation.lives import Sample
from tests.histories import BACKEND, SECOND_US, made_up
from tests.integration.ledger.test_reconciliation import LATER_US, a_call, a_sample, put
from tests.records import NOON_US


async def turn(database: Database, sample: Sample, now_us: int | None = None) -> bool:
    """One turn of the background worker, a moment after the sample."""
    async with database.write() as session:
        await samples.keep(session, [sample])
    at_us = sample.at_us + 2 * SECOND_US if now_us is None else now_us
    return await points.advance(database, sample.backend, sample.model, [sample.model], at_us, lag_us=0)


async def count(database: Database) -> int:
    async with database.read() as session:
        query = text("SELECT count(*) FROM reconciliation_point")
        return int((await session.execute(query)).scalar_one())


async def standing(database: Database, since_us: int = NOON_US - HOUR_US) -> links.Standing:
    async with database.read() as session:
        (only,) = await links.standings(await session.connection(), since_us)
    return only


@pytest.mark.parametrize("seed", [17, 23])
async def test_turns_come_to_what_one_comparison_does(database: Database, seed: int) -> None:
    """Guards against edges that add up from hour to hour, and calls that fall between two turns."""
    history = made_up(random.Random(seed), 3, False, False)
    await put(database, history.records)
    seen = sorted(history.samples, key=lambda sample: sample.at_us)
    for sample in seen:
        assert await turn(database, sample)
    async with database.read() as session:
        whole = await compare(session, seen, NOON_US - HOUR_US, LATER_US)
        found = await links.windows(await session.connection(), NOON_US - HOUR_US)
    judged = [one.window for one in whole if one.window is not None]
    assert [window for _, window in found] == judged
    assert (await standing(database)).unexplained == NO_TOKENS


async def test_an_hour_has_one_point(database: Database) -> None:
    """Guards against a table that grows by a row a minute, and against hours that cannot be told apart."""
    await put(database, [a_call(at_s + 10, at_s + 11) for at_s in range(0, 7200, 600)])
    for at_s in range(1, 7300, 600):
        made = at_s // 600
        await turn(database, a_sample(at_s, 10 * made, 5 * made))
    assert await count(database) == 1 + 3  # where it begins; 12h, 13h, 14h
    day = await standing(database)
    assert (day.engine, day.counted, day.unexplained) == (Tokens(120, 60), Tokens(120, 60), NO_TOKENS)
    last_hour = await standing(database, NOON_US + HOUR_US)
    assert last_hour.engine == last_hour.counted == Tokens(70, 35)


async def test_late_rows_come_into_the_hours_that_they_belong_to(database: Database) -> None:
    """Guards against an alarm for good after a journal was out of reach for a while."""
    await put(database, [a_call(10, 11)])
    for at_s, made in ((1, 0), (3000, 2), (4000, 2)):
        await turn(database, a_sample(at_s, 10 * made, 5 * made))
    assert (await standing(database)).unexplained == Tokens(10, 5)
    assert (await standing(database)).capture_ratio == 0.5
    await put(database, [a_call(20, 21)])
    await points.refresh(database, {BACKEND: ["tiny"]}, NOON_US, NOON_US + 4100 * SECOND_US)
    assert (await standing(database)).unexplained == NO_TOKENS
    assert (await standing(database)).capture_ratio == 1.0
    assert await count(database) == 3


async def test_a_chain_goes_on_after_a_silence_and_ends_with_its_engine(database: Database) -> None:
    """Guards against a worker that was down, and an engine that was restarted meanwhile."""
    await put(database, [a_call(10, 11), a_call(7200, 7201), a_call(9001, 9002)])
    await turn(database, a_sample(1))
    await turn(database, a_sample(7300, 20, 10))
    again = {"engine_started_us": 5, "counting_since_us": NOON_US + 9000 * SECOND_US}
    await turn(database, a_sample(9100, 10, 5, **again))
    found = await standing(database)
    assert (found.engine, found.counted) == (Tokens(30, 15), Tokens(30, 15))
    # The first life once more: two engines at one address.
    assert not await turn(database, a_sample(9200, 20, 10))


async def test_a_worker_that_was_slower_leaves_what_the_quicker_one_wrote(database: Database) -> None:
    """Guards against two workers whose sums are then both counted."""
    await put(database, [a_call(10, 11)])
    await turn(database, a_sample(1))
    held = points._follow
    raced = False

    async def slow(*arguments: object) -> list[links.Link]:
        nonlocal raced
        chain = await held(*arguments)  # type: ignore[arg-type]
        if not raced:
            raced = True
            await points.advance(database, BACKEND, "tiny", ["tiny"], NOON_US + 70 * SECOND_US, lag_us=0)
        return chain

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(points, "_follow", slow)
        await turn(database, a_sample(60, 10, 5))
    assert raced and await count(database) == 2
    assert (await standing(database)).counted == Tokens(10, 5)
