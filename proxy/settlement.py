"""The end of a call: once, whatever it was.

Owns the way from a call's last count to a record in the journal. Rules: a call that reached an engine and
may have cost tokens is settled exactly once, without waiting for anything; a call that failed before its
first byte, or that the engine refused, is not a usage and leaves no row. A record never holds what was
said.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

from ledger.errors import JournalFault
from ledger.principal import Principal
from ledger.record import CallRecord, Ending
from ledger.usage import Usage, UsageSource
from proxy.call import Call
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

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._waiting: deque[CallRecord] = deque()
        self._retry: asyncio.TimerHandle | None = None

    def append(self, record: CallRecord) -> None:
        """Writes the record now, or as soon as the journal can be written again."""
        self._waiting.append(record)
        if len(self._waiting) == 1:
            self._write()

    def has_room(self) -> bool:
        """Whether new calls may be admitted."""
        return not self._waiting and self._journal.has_room()

    def close(self) -> None:
        """Writes what still waits, as far as it can be, and lets the journal go."""
        if self._retry:
            self._retry.cancel()
        self._write(last=True)
        self._journal.close()

    def _write(self, *, last: bool = False) -> None:
        while self._waiting:
            try:
                self._journal.append(self._waiting[0])
            except JournalFault as fault:
                _log.error("%s; %d settled calls wait in memory", fault, len(self._waiting))
                if not last:
                    self._retry = asyncio.get_running_loop().call_later(RETRY_SECONDS, self._write)
                return
            self._waiting.popleft()


class Settlement:
    """One call's account, open until `settle`. Times in microseconds since the epoch; `now_us` is the
    clock."""

    __slots__ = (
        "_call",
        "_hold",
        "_journal",
        "_now_us",
        "_observe",
        "_principal",
        "backend_url",
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
        self.request_id = request_id
        self.started_us = started_us
        self.first_byte_us = 0
        self.backend_url = ""
        self.record: CallRecord | None = None

    @property
    def is_open(self) -> bool:
        """Whether the call has not been settled yet."""
        return self.record is None

    def answered(self) -> None:
        """Notes the engine's first byte."""
        self.first_byte_us = self._now_us()

    def close(self) -> None:
        """The call is over; if it came to nothing, what it held goes back."""
        if self.record is None and self._hold is not None:
            self._hold.release()
            self._hold = None

    def settle(self, ending: Ending, status: int, usage: Usage, source: UsageSource) -> None:
        """Writes the call into the journal. `status` is what the client was answered."""
        assert self.record is None, "a call is settled once"
        principal, call, hold = self._principal, self._call, self._hold
        self.record = CallRecord(
            request_id=self.request_id,
            started_us=self.started_us,
            ended_us=self._now_us(),
            tenant_id=principal.tenant_id,
            project_id=principal.project_id,
            api_key_id=principal.api_key_id,
            model=call.model,
            backend=self.backend_url,
            endpoint=call.endpoint.name,
            streamed=call.stream,
            ending=ending,
            http_status=status,
            usage_source=source,
            prompt_tokens=usage.prompt_tokens,
            cached_prompt_tokens=usage.cached_prompt_tokens,
            completion_tokens=usage.completion_tokens,
            first_byte_us=self.first_byte_us,
            end_user=call.end_user,
            holder_id=hold.holder_id if hold else "",
            charges=hold.settle(usage) if hold else (),
        )
        self._journal.append(self.record)
        self._observe(self.record)
