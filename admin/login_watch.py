"""What is noticed of logins: how many came out how, for the metrics page; who fails, for the audit log.

Written behind the answers, some seconds later and together: an answer takes as long whoever it is for, and a
flood of attempts is a row. In the log there is an event for a user whose password was wrong, one an hour at
the most, with how many attempts and from where since the one before; none for an address that is nobody's.
So a stranger adds to the log no more than an hour adds for each user whose address they know.
What cannot be written now is written later; a crash takes a minute of it at the most.
"""

import asyncio
import contextlib
import logging
from collections import Counter as Tally
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

from ledger import login_counts, users
from ledger.actors import PROGRAM
from ledger.audit_events import Event
from ledger.database import Database
from ledger.errors import LedgerError
from ledger.login_counts import Outcome
from ledger.sessions import Origin

WRITE_SECONDS: Final = 5.0
WAITING_SECONDS: Final = 60.0
"""How often to look whether the hour of a user is over."""
APART_US: Final = 3_600_000_000
"""Between two events of one user."""
USERS_MAX: Final = 1_000
"""Whose failures are kept in mind at a time; of more nothing is told, and all are counted."""
ADDRESSES_MAX: Final = 5
"""That one event tells."""

_log = logging.getLogger("metergate.admin")


@dataclass(slots=True)
class Failures:
    """Of one user, since they were told last."""

    origin: Origin
    attempts: int = 0
    addresses: dict[str, None] = field(default_factory=dict)

    def add(self, origin: Origin) -> None:
        """One more."""
        self.attempts += 1
        self.origin = origin
        if origin.address is not None and len(self.addresses) < ADDRESSES_MAX:
            self.addresses[origin.address] = None


class LoginWatch:
    """Hears of every attempt. Close it before the database."""

    def __init__(
        self, database: Database, now_us: Callable[[], int], write_seconds: float = WRITE_SECONDS
    ) -> None:
        """Writes to this ledger, so long after it hears of something; `now_us` is the clock."""
        self._database = database
        self._now_us = now_us
        self._write_seconds = write_seconds
        self._tally: Tally[Outcome] = Tally()
        self._failures: dict[str, Failures] = {}
        self._told: dict[str, int] = {}
        self._task: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()

    def heard(self, outcome: Outcome, user_id: str | None, origin: Origin) -> None:
        """An attempt came out so; `user_id`: who they would have been."""
        self._tally[outcome] += 1
        has_room = user_id in self._failures or len(self._failures) < USERS_MAX
        if outcome is Outcome.FAILED and user_id is not None and has_room:
            self._failures.setdefault(user_id, Failures(origin)).add(origin)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._write_on())

    async def write(self) -> None:
        """Writes what there is to write now. Raises LedgerError, and keeps it then."""
        now_us = self._now_us()
        self._told = {who: at_us for who, at_us in self._told.items() if at_us + APART_US > now_us}
        due = {who: failures for who, failures in self._failures.items() if who not in self._told}
        counts, self._tally = self._tally, Tally()
        for who in due:
            del self._failures[who]
        if not counts and not due:
            return
        try:
            async with self._database.write() as session:
                await login_counts.add(await session.connection(), counts)
                for who, failures in sorted(due.items()):
                    origin = failures.origin
                    by = replace(PROGRAM, address=origin.address, user_agent=origin.user_agent)
                    facts = {"attempts": failures.attempts, "addresses": list(failures.addresses)}
                    user = await users.get_user(session, who)
                    await users.record_for_tenants(session, by, Event.LOGIN_FAILED, user, None, facts, now_us)
        except LedgerError:
            self._tally += counts
            for who, failures in due.items():
                if who in self._failures:
                    self._failures[who].attempts += failures.attempts
                else:
                    self._failures[who] = failures
            raise
        self._told.update(dict.fromkeys(due, now_us))

    async def close(self) -> None:
        """Writes what is left; whose hour is not over is told no more."""
        self._closing.set()
        if self._task is not None:
            await self._task
        await self._try()

    async def _write_on(self) -> None:
        while (self._tally or self._failures) and not self._closing.is_set():
            seconds = self._write_seconds if self._tally else WAITING_SECONDS
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), seconds)
            await self._try()

    async def _try(self) -> None:
        try:
            await self.write()
        except LedgerError as fault:
            _log.warning("how logins came out is not written yet: %s", fault)
