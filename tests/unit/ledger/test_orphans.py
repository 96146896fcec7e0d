"""What nobody's next owner would do is done by the poster: once, not too early, and out of a worker's way."""

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ledger.errors import JournalFull
from ledger.journal import holder_file
from ledger.journal.flight import FLIGHT_NAME
from ledger.journal.orphans import GRACE_S, LOOK_S, RETRY_S, Orphans, leaves_something, take_over
from ledger.journal.reader import JournalReader
from ledger.journal.segments import (
    START,
    FileLock,
    is_locked,
    segment_numbers,
    segment_path,
    worker_folder,
    write_cursor,
)
from ledger.journal.writer import JournalWriter
from ledger.record import CallRecord, Ending, Entry, HolderEnded
from proxy.flight import FlightRecorder
from tests.records import a_record


class Clock:
    """Seconds, as far as the test has let them go."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Host:
    """A data folder, workers that die in it, and who looks after them."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.clock = Clock()
        self.orphans = Orphans(data_dir, clock=self.clock)

    def folder(self, worker: int = 0) -> Path:
        return worker_folder(self.data_dir, worker)

    def killed(self, work: Callable[[JournalWriter, Path], object], worker: int = 0) -> None:
        """A worker does something and is killed."""
        if (child := os.fork()) == 0:
            work(JournalWriter(self.folder(worker)), self.folder(worker))
            os.kill(os.getpid(), signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        assert os.WTERMSIG(status) == signal.SIGKILL

    def look_for(self, seconds: float) -> list[CallRecord]:
        """Time passes, and the poster goes on looking."""
        found = self.orphans.look()
        end = self.clock.now + seconds
        while self.clock.now < end:
            self.clock.now = min(end, self.clock.now + 0.1)
            found += self.orphans.look()
        return found

    def journaled(self, worker: int = 0) -> list[Entry]:
        reader = JournalReader(self.folder(worker), START)
        batch = reader.read(100)
        reader.close()
        assert not batch.damages
        return batch.entries


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def leave_a_call(journal: JournalWriter, folder: Path, call: CallRecord | None = None) -> None:
    journal.begin_holder("holder_1")
    slot = FlightRecorder(folder, "holder_1", slots=4).take()
    assert slot is not None
    slot.begin(call or a_record())
    slot.count(7, 3)


def test_what_a_dead_worker_left_is_taken_over_once_and_whole(
    host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    """Guards against folders 2 and 3 after a start with two workers: their calls were in no book and their
    leases with nobody, for as long as no start had that many workers again.
    """
    settled, flying = a_record(), a_record()

    def work(journal: JournalWriter, folder: Path) -> None:
        journal.append(settled)
        leave_a_call(journal, folder, flying)

    host.killed(work, worker=3)
    found = host.look_for(GRACE_S + 2 * LOOK_S)
    assert [(record.request_id, record.completion_tokens) for record in found] == [(flying.request_id, 3)]
    first, second, end = host.journaled(3)
    assert first == settled and second == found[0] and end == HolderEnded("holder_1")
    assert found[0].ending is Ending.KILLED
    assert not is_locked(host.folder(3) / "lock") and not leaves_something(host.folder(3))
    assert "worker-3 has no owner any more" in caplog.text
    segments = segment_numbers(host.folder(3))
    assert host.look_for(100) == [] and segment_numbers(host.folder(3)) == segments


def test_a_worker_that_is_started_again_comes_first(host: Host) -> None:
    """Guards against a poster that takes the folder from every restart, and counts its grace from the death
    before.
    """
    host.killed(leave_a_call)
    assert host.look_for(GRACE_S - 1) == []
    journal = JournalWriter(host.folder())  # the worker is back, and has not recovered yet
    assert host.look_for(100) == []
    journal.close()
    assert host.look_for(GRACE_S - 1) == []
    assert len(host.look_for(1 + 2 * LOOK_S)) == 1


def test_a_live_owner_keeps_its_folder(host: Host) -> None:
    """Guards against calls that are settled as killed while they run."""
    journal = JournalWriter(host.folder())
    leave_a_call(journal, host.folder())
    assert host.look_for(1000) == []
    assert (host.folder() / FLIGHT_NAME).exists() and host.journaled() == []
    journal.close()


def test_a_worker_waits_until_its_folder_has_been_taken_over(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards against a start that fails because the poster was at work in the worker's folder just then."""
    host.killed(leave_a_call)
    inside, go_on = threading.Event(), threading.Event()
    whole = JournalWriter.end_holder_before

    def slowly(journal: JournalWriter) -> None:
        inside.set()
        assert go_on.wait(10)
        whole(journal)

    monkeypatch.setattr(JournalWriter, "end_holder_before", slowly)
    poster = threading.Thread(target=take_over, args=(host.folder(),))
    poster.start()
    assert inside.wait(10)
    threading.Timer(0.4, go_on.set).start()  # longer than the moment that any lock is waited for
    journal = JournalWriter(host.folder(), patience_s=10)
    poster.join()
    assert len(host.journaled()) == 2 and not (host.folder() / FLIGHT_NAME).exists()
    journal.close()


@pytest.mark.parametrize("step", ["append", "sync", "end_holder_before", "close"])
def test_a_take_over_that_fails_keeps_all_and_is_tried_again_later(
    host: Host, step: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Guards against a full disk that loses what was left, that keeps the lock from the worker, or that is
    tried (and filled with copies) with every look.
    """
    host.killed(leave_a_call)
    whole = getattr(JournalWriter, step)

    def refuse(journal: JournalWriter, *arguments: Any) -> None:
        if step == "close":
            whole(journal)
        raise JournalFull("no room")

    with monkeypatch.context() as patch:
        patch.setattr(JournalWriter, step, refuse)
        host.look_for(GRACE_S + RETRY_S * 1.5)
    assert not is_locked(host.folder() / "lock")
    tries = 1 if step == "close" else 2  # all is done by then
    assert caplog.text.count("cannot be taken over now: no room") == tries
    host.look_for(RETRY_S + GRACE_S)
    entries = host.journaled()
    assert {type(entry) for entry in entries} == {CallRecord, HolderEnded}
    assert isinstance(entries[-1], HolderEnded)
    assert len({entry.request_id for entry in entries if isinstance(entry, CallRecord)}) == 1
    assert not leaves_something(host.folder())


def test_a_poster_that_is_killed_amid_it_is_followed_by_one_that_does_it_again(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards against a lock that the dead poster keeps, and a holder's end before its last calls."""
    host.killed(leave_a_call)
    if (poster := os.fork()) == 0:
        monkeypatch.setattr(holder_file, "remove", lambda _: os.kill(os.getpid(), signal.SIGKILL))
        take_over(host.folder())
        os._exit(1)
    _, status = os.waitpid(poster, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    assert host.look_for(GRACE_S + 2 * LOOK_S) == []  # the call went with the first
    assert [type(entry) for entry in host.journaled()] == [CallRecord, HolderEnded, HolderEnded]


def test_a_torn_tail_without_an_owner_is_cut(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    """Guards against half a record that nobody cuts and nobody reads past."""
    kept, torn = a_record(), a_record()
    with_both = JournalWriter(host.folder())
    with_both.append(kept)
    posted = with_both.position
    with_both.append(torn)
    with_both.close()
    path = segment_path(host.folder(), 1)
    os.truncate(path, path.stat().st_size - 5)
    host.look_for(100)
    assert segment_numbers(host.folder()) == [1]  # a record waits still, for the database: nothing to do yet
    write_cursor(host.folder(), posted)
    host.look_for(GRACE_S + 2 * LOOK_S)
    assert "cut a torn record" in caplog.text
    assert host.journaled() == [kept] and path.stat().st_size == posted.offset


def test_what_cannot_be_looked_at_keeps_nobody_from_the_rest(
    host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    """Guards against one mangled folder that hides the others, or holds its own lock for ever."""
    host.killed(leave_a_call, worker=0)
    host.killed(leave_a_call, worker=1)
    (host.folder(0) / "posted").write_text("garbage")
    segment_path(host.folder(2), 1).parent.mkdir()
    segment_path(host.folder(2), 1).write_bytes(b"mgjrnl\x02\n" + b"tomorrow's frames")
    assert len(host.look_for(GRACE_S + 2 * LOOK_S)) == 1
    assert "worker-0 has no owner and cannot be taken over now" in caplog.text
    assert not is_locked(host.folder(0) / "lock")
    (host.folder(0) / "posted").unlink()
    assert len(host.look_for(RETRY_S + GRACE_S)) == 1
    assert "worker-2" not in caplog.text


def test_looking_whether_a_lock_is_held_changes_nothing(tmp_path: Path) -> None:
    """Guards against the poster's number in the place of the owner's, where people look for it."""
    path = tmp_path / "lock"
    assert not is_locked(path) and not path.exists()
    lock = FileLock(path)
    assert lock.take()
    lock.release()
    path.write_text("4711\n")
    assert not is_locked(path)
    assert path.read_text() == "4711\n"
