"""The end of a call: once, whatever it was.

Owns the way from a call's first byte to an engine to its record in the journal. Rules: a call that reached
an engine and may have cost tokens is settled exactly once, without waiting for anything; a call that failed
before its first byte, or that the engine refused, is not a usage and leaves no row. From before it is sent
until its record is written it is in the flight recorder. A record never holds what was said.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

from msgspec.structs import replace

from ledger.errors import JournalFault
from ledger.principal import Principal
from ledger.record import CallRecord, Ending
from ledger.usage import Usage, UsageSource
from proxy.call import Call
from proxy.errors import LedgerUnavailable
from proxy.flight import FlightRecorder, Slot
from proxy.hold import Hold

RETRY_SECONDS: Final = 0.5

_log = logging.getLogger("metergate.settlement")


class Journal(Protocol):
    """Where settled records go: `ledger.journal.writer.JournalWriter`."""

    def append(self, record: CallRecord) -> None:
        """Writes the record; after this it outlives the process. Raises JournalFault."""

    def has_room(self) -> bool:
        """Whether new calls may be admitted."""

    def close(self) -> None:
        """Lets the journal go."""


class SettledCalls:
    """Records on their way into the journal.

    A journal that cannot be written keeps nothing from being settled: the records wait here, at most one
    for each call that was in flight, no new call is admitted, and writing is tried again until it works.
    """

    def __init__(self, journal: Journal, flight: FlightRecorder) -> None:
        self._journal = journal
        self._flight = flight
        self._waiting: deque[tuple[CallRecord, Slot]] = deque()
        self._retry: asyncio.TimerHandle | None = None

    def slot(self) -> Slot:
        """A slot of the flight recorder for one call. Raises LedgerUnavailable where there is none."""
        slot = self._flight.take()
        if slot is None:
            raise LedgerUnavailable("Too many calls are under way to record one more. Try again.")
        return slot

    def append(self, record: CallRecord, slot: Slot) -> None:
        """Writes the record now, or as soon as the journal can be written again; then its slot is free."""
        if not self._waiting and self._is_written(record):
            slot.free()
            return
        self._waiting.append((record, slot))
        # Should we be killed before it is written, this is what is left of it.
        slot.count(record.prompt_tokens, record.completion_tokens)

    def has_room(self) -> bool:
        """Whether new calls may be admitted."""
        return not self._waiting and not self._flight.is_full and self._journal.has_room()

    def close(self) -> None:
        """Writes what still waits, and lets the journal go; what cannot be written is for the next start."""
        if self._retry:
            self._retry.cancel()
        self._write_waiting(last=True)
        self._flight.close()  # as long as the journal's folder is ours
        self._journal.close()

    def _write_waiting(self, *, last: bool = False) -> None:
        while self._waiting:
            record, slot = self._waiting[0]
            if not self._is_written(record, last=last):
                return
            self._waiting.popleft()
            slot.free()

    def _is_written(self, record: CallRecord, *, last: bool = False) -> bool:
        try:
            self._journal.append(record)
        except JournalFault as fault:
            _log.error("%s; %d settled calls wait in memory", fault, max(1, len(self._waiting)))
            if not last:
                self._retry = asyncio.get_running_loop().call_later(RETRY_SECONDS, self._write_waiting)
            return False
        return True


def _count_nothing(prompt_tokens: int, completion_tokens: int) -> None:
    """Of a call that was never sent."""


class Settlement:
    """One call's account, open until `settle`. Times in microseconds since the epoch; `now_us` is the
    clock."""

    __slots__ = (
        "_begun",
        "_call",
        "_hold",
        "_journal",
        "_now_us",
        "_observe",
        "_principal",
        "_slot",
        "count",
        "first_byte_us",
        "record",
        "request_id",
        "started_us",
    )

    def __init__(
        self,
        journal: SettledCalls,
        observe: Callable[[CallRecord], None],
        now_us: Callable[[], int],
        request_id: str,
        principal: Principal,
        call: Call,
        started_us: int,
        hold: Hold | None = None,
    ) -> None:
        self._journal = journal
        self._observe = observe
        self._now_us = now_us
        self._principal = principal
        self._call = call
        self._hold = hold
        self._slot: Slot | None = None
        self._begun: CallRecord | None = None
        self.count: Callable[[int, int], None] = _count_nothing
        """Notes the prompt and completion tokens so far, for whoever comes after a kill. For every chunk."""
        self.request_id = request_id
        self.started_us = started_us
        self.first_byte_us = 0
        self.record: CallRecord | None = None

    @property
    def is_open(self) -> bool:
        """Whether the call has not been settled yet."""
        return self.record is None

    def sent(self, backend_url: str) -> None:
        """The call is about to go to this replica: from here on it may cost, and is on record. Raises
        ApiError where it cannot be.
        """
        if self._slot is None:
            self._slot = self._journal.slot()
            self.count = self._slot.count
        self._begun = self._begin(backend_url)
        self._slot.begin(self._begun)

    def answered(self) -> None:
        """Notes the engine's first byte."""
        self.first_byte_us = self._now_us()
        if self._slot is not None:
            self._slot.first_byte(self.first_byte_us)

    def close(self) -> None:
        """The call is over; if it came to nothing, nothing stays on record and what it held goes back."""
        if self.record is not None:
            return
        if self._slot is not None:
            self._slot.free()
        if self._hold is not None:
            self._hold.release()
            self._hold = None

    def settle(self, ending: Ending, status: int, usage: Usage, source: UsageSource) -> None:
        """Writes the call into the journal. `status` is what the client was answered."""
        assert self.record is None, "a call is settled once"
        assert self._slot is not None and self._begun is not None, "what was never sent is no usage"
        charges = self._hold.settle(usage) if self._hold is not None else ()
        self.record = replace(
            self._begun,
            ended_us=self._now_us(),
            ending=ending,
            http_status=status,
            usage_source=source,
            prompt_tokens=usage.prompt_tokens,
            cached_prompt_tokens=usage.cached_prompt_tokens,
            completion_tokens=usage.completion_tokens,
            first_byte_us=self.first_byte_us,
            holder_id=self._hold.holder_id if charges and self._hold else "",
            charges=charges,
        )
        self._journal.append(self.record, self._slot)
        self._observe(self.record)

    def _begin(self, backend_url: str) -> CallRecord:
        """The record before its end is known. By place: by name it takes ten times as long."""
        principal, call = self._principal, self._call
        return CallRecord(
            self.request_id,
            self.started_us,
            self.started_us,  # ended_us
            principal.tenant_id,
            principal.project_id,
            principal.api_key_id,
            call.model,
            backend_url,
            call.endpoint.name,
            call.stream,
            Ending.KILLED,
            0,  # http_status
            UsageSource.UNRESOLVED,
            0,  # prompt_tokens
            0,  # cached_prompt_tokens
            0,  # completion_tokens
            0,  # first_byte_us
            call.end_user,
            "",  # holder_id
            (),  # charges
            call.choices_per_prompt,
        )
