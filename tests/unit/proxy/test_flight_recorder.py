"""The live side of the flight recorder: slots are taken, counted in, freed, and left by the dead."""

import os
import signal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.errors import JournalFault
from ledger.journal.flight import FLIGHT_NAME, Flight, file_bytes, names_at, read_flight
from ledger.usage import UsageSource
from proxy.errors import FieldRefused
from proxy.flight import FlightRecorder, Slot
from tests.records import NOON_US, a_record


def flight(folder: Path) -> Flight:
    return read_flight((folder / FLIGHT_NAME).read_bytes())


def taken(recorder: FlightRecorder) -> Slot:
    slot = recorder.take()
    assert slot is not None
    return slot


def test_a_call_is_on_record_from_its_beginning_to_its_end(tmp_path: Path) -> None:
    """Guards against a call that only the first chunk, or the last, puts on record."""
    recorder = FlightRecorder(tmp_path, "holder_a", slots=4)
    slot = taken(recorder)
    assert flight(tmp_path).records == [] and flight(tmp_path).holder_id == "holder_a"
    call = a_record()
    slot.begin(call)
    [record] = flight(tmp_path).records
    assert record.request_id == call.request_id and record.usage_source is UsageSource.UNRESOLVED
    slot.first_byte(NOON_US + 77)
    for count in range(1, 5):
        slot.count(9, count)
        [record] = flight(tmp_path).records
        assert (record.prompt_tokens, record.completion_tokens) == (9, count)
        assert (record.first_byte_us, record.usage_source) == (NOON_US + 77, UsageSource.RECOVERED)
    slot.free()
    assert flight(tmp_path).records == []


def test_a_call_that_is_sent_again_begins_anew(tmp_path: Path) -> None:
    """Guards against the first engine's name, and its counts, on a call that the second one answers."""
    recorder = FlightRecorder(tmp_path, slots=4)
    slot = taken(recorder)
    slot.begin(a_record(backend="http://one"))
    slot.count(5, 5)
    slot.begin(a_record(backend="http://two"))
    [record] = flight(tmp_path).records
    assert (record.backend, record.prompt_tokens, record.completion_tokens) == ("http://two", 0, 0)


def test_what_is_told_of_a_call_after_its_end_is_nobodys(tmp_path: Path) -> None:
    """Guards against a late chunk counted to the call that has the slot now."""
    recorder = FlightRecorder(tmp_path, slots=1)
    old = taken(recorder)
    old.begin(a_record())
    old.free()
    old.free()
    new = taken(recorder)
    new.begin(a_record(tenant_id="org-new"))
    old.count(1000, 1000)
    old.first_byte(5)
    old.begin(a_record())
    [record] = flight(tmp_path).records
    assert (record.tenant_id, record.prompt_tokens, record.first_byte_us) == ("org-new", 0, 0)
    assert recorder.is_full and recorder.take() is None


@settings(max_examples=50, deadline=None)
@given(steps=st.lists(st.booleans(), max_size=60))
def test_slots_are_each_one_calls(tmp_path_factory: pytest.TempPathFactory, steps: list[bool]) -> None:
    """Guards against two calls in one slot, and slots that are never free again."""
    folder = tmp_path_factory.mktemp("worker")
    recorder = FlightRecorder(folder, slots=5)
    running: dict[str, Slot] = {}
    for begins in steps:
        if not begins and running:
            running.pop(next(iter(running))).free()
        elif (slot := recorder.take()) is not None:
            call = a_record()
            slot.begin(call)
            running[call.request_id] = slot
        assert recorder.in_flight == len(running) and recorder.is_full == (len(running) == 5)
    assert {record.request_id for record in flight(folder).records} == running.keys()


@pytest.mark.parametrize("count", [-1, 1 << 64, 1 << 200])
def test_a_count_that_is_none_changes_nothing(tmp_path: Path, count: int) -> None:
    """Guards against a stream that dies of a nonsense number from its engine."""
    recorder = FlightRecorder(tmp_path, slots=1)
    slot = taken(recorder)
    slot.begin(a_record())
    slot.count(8, 2)
    slot.count(count, count)
    slot.count(8, count)
    [record] = flight(tmp_path).records
    assert (record.prompt_tokens, record.completion_tokens) == (8, 2)


@settings(max_examples=30, deadline=None)
@given(
    names=st.lists(
        st.tuples(st.sampled_from(["m", "\u00fc", "\U0001f600", "\0"]), st.integers(1, 5000)), max_size=5
    )
)
def test_a_model_may_have_any_name(
    tmp_path_factory: pytest.TempPathFactory, names: list[tuple[str, int]]
) -> None:
    """Guards against a model that is a path of 4,000 letters: refused, or another one's in the book."""
    folder = tmp_path_factory.mktemp("worker")
    recorder = FlightRecorder(folder, slots=5)
    models = [letter * count for letter, count in names]
    for model in models:
        taken(recorder).begin(a_record(model=model, backend="http://" + model))
    records = flight(folder).records
    assert [record.model for record in records] == models
    assert [record.backend for record in records] == ["http://" + model for model in models]


def test_a_long_name_is_kept_once(tmp_path: Path) -> None:
    """Guards against names that fill their room while calls come and go."""
    recorder = FlightRecorder(tmp_path, slots=1)
    for _ in range(500):
        slot = taken(recorder)
        slot.begin(a_record(model="m" * 4000))
        slot.free()


def test_a_damaged_long_name_is_no_name(tmp_path: Path) -> None:
    """Guards against a call booked to a model that nobody called."""
    recorder = FlightRecorder(tmp_path, slots=2)
    for model in ("m" * 4000, "tiny"):
        taken(recorder).begin(a_record(model=model))
    data = bytearray((tmp_path / FLIGHT_NAME).read_bytes())
    data[names_at(2) + 1000] ^= 1
    found = read_flight(bytes(data))
    assert [record.model for record in found.records] == ["tiny"] and found.damaged == [1]
    found = read_flight(bytes(data[: names_at(2) + 1000]))
    assert [record.model for record in found.records] == ["tiny"] and found.damaged == [1]


def test_names_without_room_are_refused_and_harm_no_other(tmp_path: Path) -> None:
    """Guards against a call that runs and is on no record."""
    recorder = FlightRecorder(tmp_path, slots=100)
    call = a_record()
    taken(recorder).begin(call)
    slot = taken(recorder)
    for wrong in (a_record(model="m" * 70_000), a_record(end_user="u" * 2000)):
        with pytest.raises(FieldRefused, match="too long"):
            slot.begin(wrong)
    with pytest.raises(FieldRefused, match="too long"):
        for number in range(10):
            slot.begin(a_record(model=str(number) * 60_000))
    assert call.request_id in [record.request_id for record in flight(tmp_path).records]


def test_a_killed_process_leaves_its_last_count(tmp_path: Path) -> None:
    """Guards against a count that waits in a buffer of ours."""
    call = a_record()
    if (child := os.fork()) == 0:
        slot = taken(FlightRecorder(tmp_path, slots=4))
        slot.begin(call)
        slot.count(12, 345)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    [record] = flight(tmp_path).records
    assert (record.request_id, record.prompt_tokens, record.completion_tokens) == (call.request_id, 12, 345)


def test_the_file_has_no_holes(tmp_path: Path) -> None:
    """Guards against SIGBUS: a worker whose disk filled up would die at its next count."""
    FlightRecorder(tmp_path, slots=1000)
    file = (tmp_path / FLIGHT_NAME).stat()
    assert file.st_blocks * 512 >= file.st_size == file_bytes(1000)


def test_the_file_has_no_holes_where_room_cannot_be_reserved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards against the same on macOS, which has no call for it."""
    monkeypatch.delattr(os, "posix_fallocate", raising=False)
    FlightRecorder(tmp_path, slots=3000)
    file = (tmp_path / FLIGHT_NAME).stat()
    assert file.st_blocks * 512 >= file.st_size == file_bytes(3000)
    assert flight(tmp_path).records == []


def test_a_disk_without_room_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards against a traceback, and against a half-made file in the way of the next start."""

    def no_space(*_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", no_space, raising=False)
    with pytest.raises(JournalFault, match="No space left"):
        FlightRecorder(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_clean_end_leaves_no_file_and_any_other_leaves_its_calls(tmp_path: Path) -> None:
    """Guards against recovering from peace, and against losing a call that could not be journaled."""
    recorder = FlightRecorder(tmp_path, slots=4)
    slot = taken(recorder)
    slot.begin(a_record())
    recorder.close()
    assert len(flight(tmp_path).records) == 1
    slot.free()
    recorder.close()
    assert list(tmp_path.iterdir()) == []


def test_a_call_that_was_counted_in_silence_ended_after_it_was_last_seen(tmp_path: Path) -> None:
    """Guards against an end that lies before what is known of the call."""
    recorder = FlightRecorder(tmp_path, slots=4)
    slot = taken(recorder)
    slot.begin(a_record())
    recorder.seen(NOON_US + 9_000_000)
    [record] = flight(tmp_path).records
    assert record.ended_us == NOON_US + 9_000_000
