"""What has changed in the ledger, and since when it does not answer.

Owns the worker's place in the change log, and with it the judgement whether the ledger is there. Rules:

- The log is looked at every FOLLOW_SECONDS, so that a change works within a second. Where the database shows
  by its sign that nothing was committed, it is read once in ASK_SECONDS only: to know that it answers.
- A ledger that fails to answer, or takes longer than PATIENCE_SECONDS, is away; one that is merely slow is
  still listened to, and a read that hangs is given up after READ_SECONDS_MAX, with its connection.
- What was read before may be relied on for `kept_seconds` after the last read of the log began. Then it has
  lapsed, until the log has been read to its end again.
- Each read begins with the change that was last seen. Where that is not there any more, the ledger is another
  one (a restored backup, a standby that lacked the last changes), and nothing is relied on that was read
  before.
- A clock is looked at here, by and by, and by nobody who asks.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from ledger import changes
from ledger.changes import Change
from ledger.direct_database import DirectDatabase
from ledger.errors import DatabaseFault
from ledger.pause import to_beat

FOLLOW_SECONDS: Final = 0.5
ASK_SECONDS: Final = 2.0
LATE_SECONDS: Final = 1.0
"""By how much a read may be late before it counts against `kept_seconds`."""

PATIENCE_SECONDS: Final = 5.0
READ_SECONDS_MAX: Final = 20.0
"""Three statements of a database that takes 5 s for each."""

_log = logging.getLogger("metergate.ledger")


class ChangeFollower:
    """Follows the change log. `now_us` is the clock; `on_change` is told the ids of what changed (None:
    anything may have), `on_lapse` that what was read before cannot be relied on any more (True), or can be
    again (False).
    """

    def __init__(
        self,
        database: DirectDatabase,
        now_us: Callable[[], int],
        kept_seconds: float,
        on_change: Callable[[set[str] | None], None],
        on_lapse: Callable[[bool], None],
    ) -> None:
        self._database = database
        self._now_us = now_us
        self._kept_seconds = kept_seconds
        self._on_change = on_change
        self._on_lapse = on_lapse
        self._seen = 0
        self._last: tuple[int, str] | None = None  # of the change with that id: when, and whose
        self._read_at = 0.0  # when the last look that told all began, by the loop's clock
        self._sign: object = None  # the database's, before the last read of the log to its end
        self._ask_at = 0.0
        self._task: asyncio.Task[None] | None = None
        self._watch: asyncio.TimerHandle | None = None
        self.is_lapsed = True
        self.away_since_us = now_us()
        """Since when the ledger does not answer; 0 while it does. Until it has answered once, it is away."""
        self.on_turn: list[Callable[[bool], None]] = []
        """Told when it begins to answer, and when it stops."""

    @property
    def ledger_answers(self) -> bool:
        """Whether the ledger answered when it was last asked, in time."""
        return self.away_since_us == 0

    async def start(self) -> None:
        """Begins to follow. Raises DatabaseFault."""
        begun = asyncio.get_running_loop().time()
        self._seen = await self._database.look(changes.latest)
        self._noted(begun)
        self._set_lapsed(False)
        self._task = asyncio.create_task(self._follow())
        self._look_at_clock()

    async def stop(self) -> None:
        """Stops following."""
        if self._watch is not None:
            self._watch.cancel()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _follow(self) -> None:
        loop = asyncio.get_running_loop()
        is_behind = False
        while True:
            if not is_behind:
                await asyncio.sleep(to_beat(FOLLOW_SECONDS))
            begun = loop.time()
            sign = self._database.sign()  # before the reading: what is committed meanwhile changes it
            if sign is not None and sign == self._sign and begun < self._ask_at and not is_behind:
                self._read_at = begun
                continue
            is_behind = False
            self._sign = None
            try:
                async with asyncio.timeout(READ_SECONDS_MAX):
                    new = await self._database.look(partial(changes.since, after_id=max(0, self._seen - 1)))
                    is_other = bool(self._seen) and not self._is_ours(new)
                    latest = await self._database.look(changes.latest) if is_other else 0
            except (DatabaseFault, TimeoutError) as fault:
                self._away(str(fault) or f"no answer within {READ_SECONDS_MAX} s")
            except Exception:
                # Whatever it is: a worker that no longer follows lets revoked keys in for ever.
                _log.exception("the change log cannot be read; trying again")
                self._away("see above")
            else:
                is_behind = len(new) >= changes.AT_ONCE_MAX
                self._noted(begun)
                self._sign, self._ask_at = None if is_behind else sign, begun + ASK_SECONDS
                if self.is_lapsed and not is_behind:
                    self._set_lapsed(False)
                if is_other:
                    _log.warning("the ledger's log is another one than before: everything is read anew")
                    self._seen, self._last = latest, None
                    self._on_change(None)
                elif fresh := [change for change in new if change.id > self._seen]:
                    self._seen = fresh[-1].id
                    self._on_change({change.subject_id for change in fresh})
                if new and not is_other:
                    self._last = new[-1].at_us, new[-1].subject_id

    def _is_ours(self, new: Sequence[Change]) -> bool:
        """Whether a read begins with the change that was seen last."""
        if not new or new[0].id != self._seen:
            return False
        return self._last in (None, (new[0].at_us, new[0].subject_id))

    def _look_at_clock(self) -> None:
        """Sees what a read that is still out cannot tell; again when a silence may have become too long."""
        loop = asyncio.get_running_loop()
        silent = loop.time() - self._read_at
        patience, kept = PATIENCE_SECONDS + FOLLOW_SECONDS, LATE_SECONDS + self._kept_seconds
        if silent > patience:
            self._away(f"no answer within {PATIENCE_SECONDS} s")
        if silent > kept and not self.is_lapsed:
            _log.error(
                "the ledger has been away for longer than METERGATE_CACHED_KEYS_SECONDS: no key is taken"
            )
            self._set_lapsed(True)
        until = patience if self.is_lapsed else min(patience, kept)
        self._watch = loop.call_later(max(until - silent, FOLLOW_SECONDS), self._look_at_clock)

    def _noted(self, begun: float) -> None:
        """A read that began then was answered."""
        self._read_at = begun
        if asyncio.get_running_loop().time() - begun > PATIENCE_SECONDS:
            return  # slow is away
        if self._task is not None and self.away_since_us:
            _log.warning("the ledger answers again")
        if self.away_since_us:
            self._turn(0)

    def _away(self, why: str) -> None:
        if not self.away_since_us:
            _log.warning("%s; cached keys go on", why)
            self._turn(self._now_us())

    def _turn(self, away_since_us: int) -> None:
        self.away_since_us = away_since_us
        for notify in self.on_turn:
            notify(self.ledger_answers)

    def _set_lapsed(self, is_lapsed: bool) -> None:
        self.is_lapsed = is_lapsed
        self._on_lapse(is_lapsed)
