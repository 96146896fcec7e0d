"""The background check on both databases: what it keeps, what it says, and that it goes on."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import text

from admin.config import AdminSettings
from admin.ledger_gauges import NAMES, LedgerGauges
from admin.reconciler import Reconciler
from admin.sampling import Sampler
from admin.worker import BackgroundWorker
from ledger.database import Database
from ledger.periods import DAY_US
from ledger.posting import post
from ledger.reconciliation import links, points
from ledger.reconciliation.arithmetic import NO_TOKENS, Tokens
from ledger.terms import Terms
from proxy.simulator import SimulatorConfig
from tests.engines import Engine, engine_thread
from tests.records import a_record


class Clock:
    """The real one, and what a test adds to it."""

    def __init__(self) -> None:
        self.ahead_us = 0

    def __call__(self) -> int:
        return time.time_ns() // 1000 + self.ahead_us


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def sampler(clock: Clock) -> AsyncIterator[Sampler]:
    opened = Sampler(AdminSettings(), clock)
    yield opened
    await opened.close()


async def ask(database: Database, engine: Engine, clock: Clock, *, through_us: bool) -> Tokens:
    """One call, which has a row if it went through us; what the engine counted."""
    body = {"model": "simulated", "prompt": "how are you", "max_tokens": 4}
    answer = await asyncio.to_thread(engine.client.post, "/v1/completions", json=body)
    usage = answer.json()["usage"]
    counted = Tokens(usage["prompt_tokens"], usage["completion_tokens"])
    record = a_record(
        started_us=clock(),
        ended_us=clock(),
        backend=engine.url,
        model="simulated",
        prompt_tokens=counted.prompt,
        cached_prompt_tokens=0,
        completion_tokens=counted.generation,
    )
    if through_us:
        async with database.write() as session:
            await post(await session.connection(), [record], Terms(), clock())
    return counted


async def standing(database: Database, clock: Clock) -> links.Standing:
    async with database.read() as session:
        (only,) = await links.standings(await session.connection(), clock() - DAY_US)
    return only


async def test_it_follows_an_engine_and_says_what_nothing_explains(
    database: Database, sampler: Sampler, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """Guards against a check that is silent where it should not be, or loud where it should not."""
    with engine_thread(SimulatorConfig(tokens_per_second=0)) as engine:
        reconciler = Reconciler(database, sampler, [engine.url] * 2, clock, lag_us=0, share=1)
        for _ in range(3):  # a sample is compared once it is a second old
            await reconciler.turn()
            clock.ahead_us += 2_000_000
        ours = await ask(database, engine, clock, through_us=True)
        clock.ahead_us += 2_000_000
        await reconciler.turn()
        clock.ahead_us += 2_000_000
        await reconciler.turn()
        found = await standing(database, clock)
        assert (found.engine, found.counted, found.unexplained) == (ours, ours, NO_TOKENS)
        assert caplog.text == ""
        foreign = await ask(database, engine, clock, through_us=False)
        for _ in range(3):
            clock.ahead_us += 2_000_000
            await reconciler.turn()
        found = await standing(database, clock)
        assert (found.engine, found.counted, found.unexplained) == (ours + foreign, ours, foreign)
        said = f"{foreign.prompt:+d} prompt and {foreign.generation:+d} generated tokens of simulated"
        assert caplog.text.count(said) == 1
    for _ in range(2):
        await reconciler.turn()
    assert caplog.text.count("does not answer") == 1
    with engine_thread(SimulatorConfig(tokens_per_second=0), port=engine.port):
        await reconciler.turn()
    assert caplog.text.count("tells its counts again") == 1


async def test_the_background_worker_takes_turns_and_survives_a_database_that_is_away(
    database: Database, database_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Guards against a check that is never started, and one that ends with its first fault."""

    async def sampled() -> int:
        async with database.read() as session:
            return int((await session.execute(text("SELECT count(*) FROM engine_sample"))).scalar_one())

    async def rename(before: str, after: str) -> None:
        async with database.write() as session:
            await session.execute(text(f"ALTER TABLE {before} RENAME TO {after}"))

    with engine_thread() as engine, caplog.at_level(logging.WARNING, "metergate.worker"):
        settings = AdminSettings(
            database_url=database_url, data_dir=tmp_path, engines=(engine.url,), reconcile_seconds=0.02
        )
        await rename("engine_sample", "away")
        running = asyncio.create_task(BackgroundWorker(settings).run())
        try:
            async with asyncio.timeout(30):
                while "the reconciliation" not in caplog.text:
                    await asyncio.sleep(0.01)
                await rename("away", "engine_sample")
                while await sampled() < 3:
                    await asyncio.sleep(0.01)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


async def test_comparing_takes_its_share_and_no_more(
    database: Database, sampler: Sampler, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards against a large ledger that is added up again every minute; samples are taken all the same."""
    compared = []

    async def advance(*_: object) -> bool:
        compared.append(1)
        await asyncio.sleep(0.01)
        return True

    monkeypatch.setattr(points, "advance", advance)
    with engine_thread() as engine:
        reconciler = Reconciler(database, sampler, [engine.url], clock, share=0.0001)
        for _ in range(3):
            await reconciler.turn()
    async with database.read() as session:
        assert (await session.execute(text("SELECT count(*) FROM engine_sample"))).scalar_one() == 3
    assert len(compared) == 1


async def test_a_setting_switches_it_off(database_url: str, tmp_path: Path) -> None:
    """Guards against engines that are asked against the operator's word."""
    with engine_thread() as engine:
        settings = AdminSettings(
            database_url=database_url, data_dir=tmp_path, engines=(engine.url,), reconcile_seconds=0
        )
        running = asyncio.create_task(BackgroundWorker(settings).run())
        await asyncio.sleep(0.3)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    database = Database(database_url)
    async with database.read() as session:
        assert (await session.execute(text("SELECT count(*) FROM engine_sample"))).scalar_one() == 0
    await database.close()


async def test_the_gauges_show_what_was_found_and_outlive_the_database(
    database: Database, database_url: str, sampler: Sampler, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """Guards against a metrics page without the figure, or one that breaks while the database is away."""

    def shown(gauges: LedgerGauges) -> dict[tuple[str, ...], float]:
        families = gauges.collect()
        return {
            (sample.name, *sample.labels.values()): sample.value
            for family in families
            for sample in family.samples
        }

    gauges = LedgerGauges(database_url)
    assert shown(gauges) == {}
    with engine_thread(SimulatorConfig(tokens_per_second=0)) as engine:
        reconciler = Reconciler(database, sampler, [engine.url], clock, lag_us=0, share=1)
        clock.ahead_us = -60_000_000
        for call in range(2):
            for _ in range(3):
                await reconciler.turn()
                clock.ahead_us += 2_000_000
            asked = await ask(database, engine, clock, through_us=call == 0)
        for _ in range(3):
            clock.ahead_us += 2_000_000
            await reconciler.turn()
    await asyncio.to_thread(gauges.refresh)
    found = shown(gauges)
    capture, unexplained, checked, _ = NAMES
    labels = (engine.url, "simulated")
    assert found[capture, *labels] == 0.5
    assert found[unexplained, *labels, "input"] == asked.prompt
    assert found[unexplained, *labels, "output"] == asked.generation
    assert found[checked, *labels] == pytest.approx(clock() / 1e6, abs=30)
    async with database.write() as session:
        await session.execute(text("ALTER TABLE reconciliation_point RENAME TO away"))
    for _ in range(2):
        await asyncio.to_thread(gauges.refresh)
    assert shown(gauges) == found
    assert caplog.text.count("stays as it is") == 1
