"""The poster: from journals to the ledger whatever crashes, in process and as the process it is."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from ledger import settled
from ledger.database import Database
from ledger.errors import DatabaseUnavailable, JournalOwned, PostingLate
from ledger.journal import segments
from ledger.journal.recovery import recover_into
from ledger.journal.segments import Position, read_cursor, segment_numbers, segment_path, worker_folder
from ledger.journal.writer import JournalWriter
from ledger.poster import Poster, drain_once, poster_lock
from ledger.posting import NOTHING_POSTED, PostResult
from ledger.record import CallRecord
from ledger.terms import Terms
from proxy.flight import FlightRecorder
from tests.records import a_record


def settle(data_dir: Path, worker: int, count: int, segment_bytes: int = 2000) -> list[CallRecord]:
    """A worker's life: it settles some calls and dies without a word."""
    writer = JournalWriter(worker_folder(data_dir, worker), segment_bytes=segment_bytes)
    records = [a_record(prompt_tokens=10 + number) for number in range(count)]
    for record in records:
        writer.append(record)
    writer.close()
    return records


async def posted_ids(database: Database) -> set[str]:
    async with database.read() as session:
        return set((await session.execute(text("SELECT request_id FROM usage"))).scalars())


async def calls_counted(database: Database) -> int:
    async with database.read() as session:
        return int(
            (await session.execute(text("SELECT coalesce(sum(calls), 0) FROM usage_hour"))).scalar_one()
        )


async def test_every_journal_is_posted_and_cleared(database: Database, tmp_path: Path) -> None:
    """Guards against a dead worker's records that nobody posts, and a disk that fills with posted ones."""
    records = [record for worker in range(3) for record in settle(tmp_path, worker, 30)]
    assert await drain_once(database, tmp_path) == PostResult(90, 0, 90)
    assert await posted_ids(database) == {record.request_id for record in records}
    for worker in range(3):
        folder = worker_folder(tmp_path, worker)
        assert len(segment_numbers(folder)) == 1
        assert read_cursor(folder).segment == segment_numbers(folder)[0]
    assert await drain_once(database, tmp_path) == NOTHING_POSTED


async def test_one_workers_backlog_keeps_no_others_calls_back(database: Database, tmp_path: Path) -> None:
    """Guards against the calls of now that wait until an outage of an hour is caught up, because their folder
    comes later.
    """
    settle(tmp_path, 0, 5000, segment_bytes=1 << 20)
    fresh = {record.request_id for record in settle(tmp_path, 1, 5)}
    poster = Poster(database, tmp_path, Terms())
    try:
        results = [await poster.turn() for _ in range(2)]
        assert sum(result.inserted for result in results) < 3000
        assert fresh <= await posted_ids(database)
    finally:
        poster.close()


@pytest.mark.parametrize("crash", ["write_cursor", "unlink"])
async def test_a_crash_after_the_commit_posts_nothing_twice(
    database: Database, tmp_path: Path, crash: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards against a second bill for what was committed when the cursor was not yet written."""
    settle(tmp_path, 0, 40)

    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    if crash == "write_cursor":
        monkeypatch.setattr("ledger.poster.write_cursor", die)
    else:
        monkeypatch.setattr(Path, "unlink", die)
    with pytest.raises(KeyboardInterrupt):
        await drain_once(database, tmp_path)
    monkeypatch.undo()
    assert await calls_counted(database) == 40
    again = await drain_once(database, tmp_path)
    assert again.inserted == 0
    assert await calls_counted(database) == 40


@pytest.mark.parametrize("posted_before", [False, True])
async def test_a_settled_call_that_is_recovered_too_is_what_was_settled(
    database: Database, tmp_path: Path, posted_before: bool
) -> None:
    """Guards against a kill between the settled record and the slot's end: the last word must not become the
    running count, or a second call.
    """
    folder = worker_folder(tmp_path, 0)
    journal, recorder = JournalWriter(folder), FlightRecorder(folder, slots=4)
    call, other = a_record(prompt_tokens=20, completion_tokens=30), a_record()
    for record in (call, other):
        slot = recorder.take()
        assert slot is not None
        slot.begin(record)
        slot.count(19, 29)
    journal.append(call)
    journal.close()  # and dead, before the slot is free
    if posted_before:
        await drain_once(database, tmp_path)
    journal = JournalWriter(folder)
    recover_into(journal, folder)
    journal.close()
    await drain_once(database, tmp_path)
    async with database.read() as session:
        rows = await session.execute(text("SELECT * FROM usage"))
        found = {row.request_id: (row.usage_source, row.ending, row.completion_tokens) for row in rows}
    assert found == {
        call.request_id: ("final", "finished", 30),
        other.request_id: ("recovered", "killed", 29),
    }
    assert await calls_counted(database) == 2


async def test_a_mangled_cursor_costs_only_time(database: Database, tmp_path: Path) -> None:
    """Guards against a cursor that is believed although it is none: removing it posts again, adding
    nothing.
    """
    settle(tmp_path, 0, 5, segment_bytes=10**6)
    await drain_once(database, tmp_path)
    (worker_folder(tmp_path, 0) / "posted").write_text("garbage")
    assert await drain_once(database, tmp_path) == NOTHING_POSTED
    (worker_folder(tmp_path, 0) / "posted").unlink()
    assert await drain_once(database, tmp_path) == PostResult(0, 5)
    assert await calls_counted(database) == 5


async def test_damaged_bytes_are_set_aside(database: Database, tmp_path: Path) -> None:
    """Guards against one bad block that stops posting, or that disappears."""
    records = settle(tmp_path, 0, 3, segment_bytes=10**6)
    path = segment_path(worker_folder(tmp_path, 0), 1)
    data = bytearray(path.read_bytes())
    data[30] ^= 0xFF
    path.write_bytes(data)
    assert (await drain_once(database, tmp_path)).inserted == 2
    assert await posted_ids(database) == {record.request_id for record in records[1:]}
    (kept,) = (tmp_path / "journal" / "quarantine").iterdir()
    assert kept.read_bytes() in bytes(data)


async def test_one_poster_at_a_time(database: Database, tmp_path: Path) -> None:
    """Guards against two processes that both advance one cursor."""
    settle(tmp_path, 0, 1)
    lock = poster_lock(tmp_path)
    assert lock.take()
    with pytest.raises(JournalOwned):
        await drain_once(database, tmp_path)
    lock.release()
    assert (await drain_once(database, tmp_path)).inserted == 1


async def test_nothing_is_lost_while_the_database_is_away(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Guards against records read, not posted, and passed over when the database comes back."""
    records = settle(tmp_path, 0, 20)
    away = True
    transact = database.transact

    async def transact_or_fail(work: Any) -> Any:
        if away:
            raise DatabaseUnavailable("away")
        return await transact(work)

    monkeypatch.setattr(database, "transact", transact_or_fail)
    monkeypatch.setattr("ledger.poster.POLL_S", 0.001)
    stopping = asyncio.Event()
    lock = poster_lock(tmp_path)
    assert lock.take()  # or who waits for the records posts them
    poster = Poster(database, tmp_path, Terms())
    following = asyncio.create_task(poster.follow(stopping))
    await until(lambda: "cannot post now" in caplog.text)
    away = False
    await settled_within(tmp_path, database)
    stopping.set()
    await following
    poster.close()
    lock.release()
    assert await posted_ids(database) == {record.request_id for record in records}
    assert "posting works again" in caplog.text


async def test_what_comes_after_a_look_that_found_nothing_is_posted(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards against journals with news that are taken for quiet ones: the segment at hand has grown, or
    there is a next one, or another worker's folder.
    """
    monkeypatch.setattr("ledger.poster.POLL_S", 0.001)
    monkeypatch.setattr("ledger.poster.READ_S", 3600.0)
    first, second = (JournalWriter(worker_folder(tmp_path, number), segment_bytes=400) for number in (0, 1))
    stopping = asyncio.Event()
    poster = Poster(database, tmp_path, Terms())
    following = asyncio.create_task(poster.follow(stopping))
    expected = set()
    try:
        for writer in (first, first, first, first, second, first):
            await until(lambda: poster._quiet is not None and poster._quiet == poster._signs())
            record = a_record()
            writer.append(record)
            expected.add(record.request_id)
            async with asyncio.timeout(10):
                while await posted_ids(database) != expected:
                    await asyncio.sleep(0.005)
        assert first.position.segment > 1
    finally:
        stopping.set()
        await following
        poster.close()
        first.close()
        second.close()


async def test_waiting_posts_by_itself_where_no_poster_is(database: Database, tmp_path: Path) -> None:
    """Guards against a report that misses calls, or hangs, because the servers are down."""
    settle(tmp_path, 0, 25)
    await settled.wait_posted(tmp_path, database)
    assert await calls_counted(database) == 25
    await settled.wait_posted(tmp_path / "nothing", database)


async def test_who_waits_posts_in_the_currency_that_is_set(database: Database, tmp_path: Path) -> None:
    """Unpriced rows came out in USD where a report was asked for while the servers were down."""
    settle(tmp_path, 0, 1)
    await settled.wait_posted(tmp_path, database, currency="EUR")
    async with database.read() as session:
        currencies = (await session.execute(text("SELECT currency FROM usage"))).scalars().all()
    assert currencies == ["EUR"]


async def test_waiting_is_not_held_up_by_a_torn_tail(database: Database, tmp_path: Path) -> None:
    """Guards against waiting for ever for the record that a crash tore."""
    settle(tmp_path, 0, 2, segment_bytes=10**6)
    path = segment_path(worker_folder(tmp_path, 0), 1)
    os.truncate(path, path.stat().st_size - 5)
    await settled.wait_posted(tmp_path, database)
    assert await calls_counted(database) == 1


async def test_waiting_for_a_stuck_poster_ends(database: Database, tmp_path: Path) -> None:
    """Guards against a report that hangs."""
    settle(tmp_path, 0, 1)
    lock = poster_lock(tmp_path)
    lock.take()
    with pytest.raises(PostingLate, match="--no-wait"):
        await settled.wait_posted(tmp_path, database, timeout_s=0.05)
    lock.release()


class PosterProcess:
    """`python -m ledger.poster` with its two pipes."""

    def __init__(self, database_url: str, data_dir: Path) -> None:
        ready, ready_end = os.pipe()
        life_end, self.life = os.pipe()
        environment = os.environ | {
            "METERGATE_DATABASE_URL": database_url,
            "METERGATE_DATA_DIR": str(data_dir),
            "METERGATE_READY_FD": str(ready_end),
            "METERGATE_LIFE_FD": str(life_end),
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ledger.poster"],
            env=environment,
            pass_fds=(ready_end, life_end),
            stderr=subprocess.PIPE,
            text=True,
        )
        os.close(ready_end)
        os.close(life_end)
        self.ready = ready

    def wait_ready(self) -> None:
        assert os.read(self.ready, 100) == b"ready\n", self.end()

    def end(self) -> tuple[int, str]:
        """Its exit status and what it said."""
        _, said = self.process.communicate(timeout=30)
        return self.process.returncode, said


@pytest.fixture
async def start(tmp_path: Path, database_url: str) -> AsyncIterator[Callable[[], PosterProcess]]:
    """Starts posters; none is left behind."""
    started: list[PosterProcess] = []

    def run() -> PosterProcess:
        started.append(PosterProcess(database_url, tmp_path))
        return started[-1]

    yield run
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
            one.process.communicate()
        os.close(one.ready)
        if one.life >= 0:
            os.close(one.life)


async def test_the_process_follows_live_workers_and_stops_clean(
    database: Database, tmp_path: Path, start: Callable[[], PosterProcess]
) -> None:
    """Guards against a poster that misses a worker that came later, or leaves records behind when told to
    stop.
    """
    poster = start()
    poster.wait_ready()
    writer = JournalWriter(worker_folder(tmp_path, 0), segment_bytes=1500)
    for _ in range(20):
        writer.append(a_record())
    await settled_within(tmp_path, database)
    assert await calls_counted(database) == 20
    late = JournalWriter(worker_folder(tmp_path, 1))
    late.append(a_record())
    poster.process.send_signal(signal.SIGTERM)
    assert poster.end() == (0, "")
    assert await calls_counted(database) == 21
    writer.close()
    late.close()


async def test_kill_9_at_any_moment_loses_and_doubles_nothing(
    database: Database, tmp_path: Path, start: Callable[[], PosterProcess]
) -> None:
    """Guards against the crash between any two steps of posting."""
    writer = JournalWriter(worker_folder(tmp_path, 0), segment_bytes=20_000)
    records = []
    for turn in range(3):
        poster = start()
        poster.wait_ready()
        for number in range(1500):
            records.append(a_record())
            writer.append(records[-1])
            if number % 500 == 499:
                await asyncio.sleep(0)
        before = read_cursor(worker_folder(tmp_path, 0))
        await until(lambda before=before: read_cursor(worker_folder(tmp_path, 0)) > before)
        poster.process.kill()
        poster.end()
        assert turn < 3
    writer.close()
    await drain_once(database, tmp_path)
    assert await posted_ids(database) == {record.request_id for record in records}
    assert await calls_counted(database) == len(records)


async def test_the_process_ends_with_its_supervisor(
    tmp_path: Path, start: Callable[[], PosterProcess]
) -> None:
    """Guards against an orphan that keeps the lock when `metergate up` was killed."""
    poster = start()
    poster.wait_ready()
    os.close(poster.life)
    poster.life = -1
    assert poster.end()[0] == 0
    assert not segments.is_locked(tmp_path / "journal" / "poster.lock")


async def test_a_wrong_schema_is_said_in_one_line(tmp_path: Path) -> None:
    """Guards against a traceback, and against a poster that waits in silence."""
    poster = PosterProcess(f"sqlite:///{tmp_path / 'none.db'}", tmp_path)
    status, said = poster.end()
    os.close(poster.ready)
    os.close(poster.life)
    assert status == 1
    assert said.count("\n") == 1 and "metergate db upgrade" in said


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what another task or process brings about."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        await asyncio.sleep(0.005)


async def settled_within(data_dir: Path, database: Database) -> None:
    await settled.wait_posted(data_dir, database, timeout_s=30)


def test_positions_are_ordered() -> None:
    """Guards against an offset that outweighs a segment."""
    assert Position(1, 900) < Position(2, 8) < Position(2, 9)
