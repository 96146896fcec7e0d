"""Reconciliation against rows of a real ledger, on both databases."""

import random

import pytest
from sqlalchemy import text

from ledger.database import Database
from ledger.posting import post
from ledger.reconciliation import links, samples
from ledger.reconciliation.arithmetic import NO_TOKENS, Sums, Tokens, Verdict
from ledger.reconciliation.checks import compare
from ledger.reconciliation.comparison import Comparison, Unjudged
from ledger.reconciliation.lives import Sample
from ledger.reconciliation.sums import edge_at, sums_between
from ledger.record import CallRecord
from ledger.tables import Table
from ledger.terms import Terms
from tests import histories
from tests.histories import BACKEND, POSTED_LATE_US, SECOND_US, History, made_up
from tests.records import NOON_US, a_record

LATER_US = NOON_US + 86_400 * SECOND_US


async def put(database: Database, records: list[CallRecord]) -> None:
    """Each as posted some time after its end."""
    async with database.write() as session:
        for record in records:
            await post(await session.connection(), [record], Terms(), record.ended_us + POSTED_LATE_US)


async def compared(database: Database, seen: list[Sample], since_us: int = NOON_US) -> list[Comparison]:
    async with database.write() as session:
        await samples.keep(session, seen)
    async with database.read() as session:
        return await compare(session, await samples.kept(session), since_us, LATER_US)


def a_sample(at_s: float, prompt: int = 0, generation: int = 0, **fields: object) -> Sample:
    at_us = NOON_US + int(at_s * SECOND_US)
    values = {"backend": BACKEND, "model": "tiny", "asked_us": at_us, "engine_started_us": NOON_US}
    values |= {"counting_since_us": NOON_US, "in_flight": 0, **fields}
    return Sample(at_us=at_us, tokens=Tokens(prompt, generation), **values)  # type: ignore[arg-type]


def a_call(started_s: float, ended_s: float, **fields: object) -> CallRecord:
    times = {"started_us": started_s, "ended_us": ended_s}
    return a_record(**{name: NOON_US + int(at * SECOND_US) for name, at in times.items()}, **fields)


async def test_the_statements_say_what_is_written_down_plainly(database: Database) -> None:
    """Guards against a bound of a statement that is off by one, or that looks at the wrong column."""
    history: History = made_up(random.Random(17), 3, False, False)
    foreign = a_record(backend="http://other", started_us=NOON_US + 30 * SECOND_US)
    await put(database, [*history.records, foreign])
    moments = [sample.at_us for sample in history.samples]
    moments += [at_us for record in history.records for at_us in (record.started_us, record.ended_us)]
    assert len(history.records) > 10 and len(moments) > 30
    async with database.read() as session:
        for after_us, until_us in zip(moments, reversed(moments), strict=True):
            expected = histories.sums_between(history.records, after_us, until_us)
            assert await sums_between(session, BACKEND, None, after_us, until_us) == expected
        for at_us in moments:
            for asked_us in (at_us, at_us - 400_000):
                expected_edge = histories.edge_at(history.records, asked_us, at_us)
                assert await edge_at(session, BACKEND, None, asked_us, at_us) == expected_edge
        assert await sums_between(session, BACKEND, ["another"], NOON_US - 1, LATER_US) == Sums()


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_a_history_with_restarts_is_explained(database: Database, seed: int) -> None:
    """Guards against the way from rows and samples to a verdict."""
    history = made_up(random.Random(seed), 3, False, False)
    await put(database, history.records)
    found = await compared(database, history.samples)
    judged = [one.window for one in found if one.window is not None]
    assert judged
    assert all(window.unexplained == NO_TOKENS for window in judged)


async def test_samples_come_back_as_they_were_kept(database: Database) -> None:
    """Guards against a column taken for its neighbour."""
    one = Sample("http://e", "m", NOON_US + 9, NOON_US + 8, 7, 6, Tokens(5, 4), 3)
    other = Sample("http://f", "m", NOON_US + 10, NOON_US + 8, 7, 6, Tokens(5, 4), 3)
    async with database.write() as session:
        await samples.keep(session, [other, one])
    async with database.read() as session:
        assert await samples.kept(session) == [one, other]
        assert await samples.kept(session, NOON_US + 10) == [other]
        assert await samples.kept(session, backend="http://e", model="m") == [one]
    async with database.write() as session:
        await samples.forget(session, NOON_US + 10 + samples.KEPT_US)
    async with database.read() as session:
        assert await samples.kept(session) == [other]


async def test_calls_by_any_name_are_the_one_models(database: Database) -> None:
    """Guards against an alias or an adapter taken for foreign traffic; and against models of one engine that
    counts several taken for each other.
    """
    await put(database, [a_call(10, 11, model="alias"), a_call(12, 13, model="tiny")])
    alone = [a_sample(1), a_sample(60, 20, 10)]
    (one,) = await compared(database, alone)
    assert one.window is not None and one.window.verdict() is Verdict.EXACT
    several = [
        a_sample(at_s, prompt, generated, model=model)
        for at_s, prompt, generated in ((2, 0, 0), (61, 10, 5))
        for model in ("alias", "tiny")
    ]
    async with database.read() as session:
        named = {each.model: each for each in await compare(session, several, NOON_US, LATER_US)}
    assert [named[model].sums.calls for model in ("alias", "tiny")] == [1, 1]
    assert {each.window and each.window.verdict() for each in named.values()} == {Verdict.EXACT}


async def test_an_engine_that_serves_another_model_now_counts_one_at_a_time(database: Database) -> None:
    """Guards against the names of yesterday's model, by which today's calls would be told apart."""
    await put(database, [a_call(10, 11, model="old"), a_call(110, 111, model="alias-of-new")])
    seen = [a_sample(1, model="old"), a_sample(60, 10, 5, model="old")]
    again = {"engine_started_us": 5, "counting_since_us": NOON_US + 90 * SECOND_US, "model": "new"}
    seen += [a_sample(100, **again), a_sample(130, 10, 5, **again)]
    found = await compared(database, seen)
    assert [(each.model, each.window and each.window.verdict()) for each in found] == [
        ("new", Verdict.EXACT),
        ("old", Verdict.EXACT),
    ]


async def test_what_cannot_be_judged_is_told(database: Database) -> None:
    """Guards against tokens that nobody compared and nobody heard of."""
    await put(
        database,
        [
            a_call(10, 11),
            a_call(65, 66, completion_tokens=7),  # after the last sample of the first life
            a_call(110, 111),
            a_call(20, 21, backend="http://unknown", completion_tokens=9),
        ],
    )
    again = {"engine_started_us": 5, "counting_since_us": NOON_US + 100 * SECOND_US}
    found = await compared(database, [a_sample(1), a_sample(60, 10, 5), a_sample(130, 10, 5, **again)])
    first, lost, second, unknown = found
    assert [one.window and one.window.verdict() for one in (first, second)] == [Verdict.EXACT] * 2
    assert (lost.unjudged, lost.sums.completion_tokens) == (Unjudged.RESTARTED, 7)
    assert (unknown.unjudged, unknown.backend, unknown.sums.completion_tokens) == (
        Unjudged.NO_SAMPLE,
        "http://unknown",
        9,
    )


async def test_one_address_with_several_engines_is_not_judged(database: Database) -> None:
    """Guards against counters of different engines taken for one that jumps."""
    other = {"engine_started_us": 5}
    (one,) = await compared(database, [a_sample(1), a_sample(60, 9, 9, **other), a_sample(120, 1, 1)])
    assert one.unjudged is Unjudged.SEVERAL_ENGINES


async def test_a_row_from_before_choices_were_kept_has_one(database: Database) -> None:
    """Guards against an upgrade that leaves NULL in old rows, whose sums then vanish."""
    await put(database, [a_call(10, 11)])
    async with database.write() as session:
        columns = (
            "request_id, started_us, ended_us, first_byte_us, tenant_id, project_id, api_key_id, model,"
            " backend, endpoint, streamed, ending, http_status, usage_source, prompt_tokens,"
            " cached_prompt_tokens,"
            " completion_tokens, amount_picos, currency, price_version_id, posted_us"
        )
        old = columns.replace("request_id", "substr(request_id, 1, 30) || 'zzzzzz'", 1)
        await session.execute(text(f"INSERT INTO usage ({columns}) SELECT {old} FROM usage"))
    async with database.read() as session:
        assert (await sums_between(session, BACKEND, None, NOON_US, LATER_US)).counted == Tokens(20, 10)


def test_links_are_read_by_the_columns_that_the_table_has() -> None:
    """Guards against a column that is added to the table alone, and shifts all that are read behind it."""
    assert tuple(Table.metadata.tables["reconciliation_point"].columns.keys()) == links.COLUMNS
