"""A call is in the flight recorder until its record is in the journal, and a full recorder takes no call."""

import asyncio
from pathlib import Path

import pytest

from ledger.errors import JournalFull
from ledger.journal.flight import FLIGHT_NAME, read_flight
from ledger.record import CallRecord
from proxy.errors import LedgerUnavailable
from proxy.flight import FlightRecorder
from proxy.settlement import RETRY_SECONDS, SettledCalls
from tests.records import a_record


class PaperJournal:
    """A journal in memory, that can be full."""

    def __init__(self) -> None:
        self.records: list[CallRecord] = []
        self.full = False

    def append(self, record: CallRecord) -> None:
        if self.full:
            raise JournalFull("no room")
        self.records.append(record)

    def has_room(self) -> bool:
        return not self.full

    def close(self) -> None:
        """Nothing to let go."""


def in_flight(folder: Path) -> dict[str, int]:
    """The calls that a kill would leave now, and their completion tokens."""
    records = read_flight((folder / FLIGHT_NAME).read_bytes()).records
    return {record.request_id: record.completion_tokens for record in records}


async def test_a_slot_is_free_only_when_the_journal_has_the_record(tmp_path: Path) -> None:
    """Guards against a record in memory alone, which kill -9 takes along, and against its count being an old
    one.
    """
    journal = PaperJournal()
    settled = SettledCalls(journal, FlightRecorder(tmp_path, slots=4))
    first, second = a_record(completion_tokens=41), a_record(completion_tokens=42)
    slots = [settled.slot(), settled.slot()]
    for slot, record in zip(slots, (first, second), strict=True):
        slot.begin(record)
        slot.count(1, 1)
    journal.full = True
    settled.append(first, slots[0])
    settled.append(second, slots[1])
    assert in_flight(tmp_path) == {first.request_id: 41, second.request_id: 42} and not settled.has_room()
    journal.full = False
    await asyncio.sleep(RETRY_SECONDS * 1.5)
    assert journal.records == [first, second] and in_flight(tmp_path) == {} and settled.has_room()
    settled.close()
    assert not (tmp_path / FLIGHT_NAME).exists()


async def test_what_cannot_be_written_at_the_end_is_left_for_the_next_start(tmp_path: Path) -> None:
    """Guards against a stop on a full disk that loses settled calls."""
    journal = PaperJournal()
    settled = SettledCalls(journal, FlightRecorder(tmp_path, slots=4))
    record, slot = a_record(), settled.slot()
    slot.begin(record)
    journal.full = True
    settled.append(record, slot)
    settled.close()
    assert in_flight(tmp_path) == {record.request_id: record.completion_tokens}


async def test_a_full_recorder_takes_no_call(tmp_path: Path) -> None:
    """Guards against a call that no kill could be survived by."""
    settled = SettledCalls(PaperJournal(), FlightRecorder(tmp_path, slots=1))
    slot = settled.slot()
    assert not settled.has_room()
    with pytest.raises(LedgerUnavailable, match="Too many calls"):
        settled.slot()
    slot.free()
    assert settled.has_room() and settled.slot()
