"""Who is calling: from a request's secret to its principal.

Owns the cache of principals and its truth: what the ledger's change log names is forgotten (`proxy.following`
reads it). Rules:

- While the ledger is away known keys go on for as long as the settings say, and no question is put to it;
  then the cache is put aside, and comes back once the log has been read again.
- A malformed secret never reaches the database; nor does an unknown one twice within UNKNOWN_SECONDS.
- Calls that miss the cache for the same key share one query; of different keys, one query fewer than the
  database has connections runs at once, so that a cold cache leaves one to the rest of the worker.
- A query that was under way while the log told of a change is not kept: it may have read what was before.
- The end of a key, and that of the grace of a replaced secret, come by the clock: each call looks at them.
- Secrets are not kept: the cache knows them by a keyed hash of this process's own, which is quicker than the
  ledger's digest; only a miss has to work that out.
"""

import asyncio
import os
from collections.abc import Callable
from functools import partial
from hashlib import blake2b
from typing import Any, Final

from ledger.direct_database import DirectDatabase
from ledger.errors import DatabaseFault, DatabaseUnavailable
from ledger.keys import digest, is_well_formed, redact
from ledger.principals import Principal, find_principal
from proxy.errors import AccessBlocked, KeyIncorrect, KeyMissing, LedgerUnavailable
from proxy.following import ChangeFollower
from proxy.last_use import LastUse

ASK_SECONDS: Final = 5.0
"""How long a query may take before its callers are told to come again."""

UNKNOWN_SECONDS: Final = 2.0
CACHED_MAX: Final = 50_000
"""About 25 MB of principals; the oldest go first. A key that was pushed out costs one query."""

_UNCHECKED: Final = "The key cannot be checked at the moment. Try again."


class Authenticator:
    """Turns secrets into principals. `now_us` is the clock."""

    def __init__(
        self,
        database: DirectDatabase,
        pepper: bytes,
        now_us: Callable[[], int],
        cached_seconds: float = 3600.0,
    ) -> None:
        """`cached_seconds`: how long known keys go on while the ledger is away."""
        self._database = database
        self._pepper = pepper
        self._now_us = now_us
        self._known: dict[bytes, Principal] = {}
        self._unknown: dict[bytes, int] = {}
        self._asking: dict[bytes, asyncio.Task[Principal | None]] = {}
        self._turns = asyncio.Semaphore(max(1, database.pool_size - 1))
        self._hash_key = os.urandom(32)
        self._generation = 0
        self._lapsed: dict[bytes, Principal] = {}
        self.ledger: Final = ChangeFollower(database, now_us, cached_seconds, self._forget, self._lapse)
        self.on_change: list[Callable[[], None]] = []
        self.last_use: Final = LastUse(database)

    async def start(self) -> None:
        """Begins to follow the change log. Raises DatabaseFault."""
        await self.ledger.start()
        self.last_use.start()

    async def stop(self) -> None:
        """Stops following."""
        await self.ledger.stop()
        await self.last_use.stop()

    def cached(self, secret: bytes | None) -> Principal | None:
        """The principal without waiting, if it is in the cache and may call. Raises the same errors as
        `find`."""
        if secret is None:
            raise KeyMissing(
                "You didn't provide an API key. "
                "Send it in the Authorization header: `Authorization: Bearer YOUR_KEY`."
            )
        principal = self._known.get(self._hashed(secret))
        if principal is not None:
            return self._checked(principal, secret)
        if not is_well_formed(secret):
            raise _incorrect(secret)
        return None

    async def find(self, secret: bytes) -> Principal:
        """The principal of a well-formed secret, from the ledger.

        Raises KeyIncorrect, AccessBlocked, LedgerUnavailable.
        """
        key = self._hashed(secret)
        if self._unknown.get(key, 0) > self._now_us():
            raise _incorrect(secret)
        if not self.ledger.ledger_answers:
            raise LedgerUnavailable(_UNCHECKED)
        task = self._asking.get(key)
        if task is None:
            task = self._asking[key] = asyncio.create_task(self._ask(key, digest(self._pepper, secret)))
            task.add_done_callback(_heard)
        try:
            principal = await asyncio.shield(task)
        except DatabaseFault as error:
            raise LedgerUnavailable(_UNCHECKED) from error
        if principal is None:
            raise _incorrect(secret)
        return self._checked(principal, secret)

    def _hashed(self, secret: bytes) -> bytes:
        return blake2b(secret, key=self._hash_key, digest_size=16).digest()

    async def _ask(self, key: bytes, stored_as: bytes) -> Principal | None:
        try:
            while True:
                async with self._turns, asyncio.timeout(ASK_SECONDS):
                    if not self.ledger.ledger_answers:  # since we began to wait
                        raise DatabaseUnavailable("the ledger is away")
                    generation = self._generation
                    principal = await self._database.look(partial(find_principal, digest=stored_as))
                if generation == self._generation:
                    break
        except TimeoutError:
            raise DatabaseUnavailable("the ledger does not answer") from None
        finally:
            del self._asking[key]
        if principal is None:
            _bound(self._unknown)
            self._unknown[key] = self._now_us() + int(UNKNOWN_SECONDS * 1e6)
        elif not self.ledger.is_lapsed:
            _bound(self._known)
            self._known[key] = principal
        return principal

    def _checked(self, principal: Principal, secret: bytes) -> Principal:
        now = self._now_us()
        if principal.is_active(now):
            self.last_use.at[principal.secret_id] = now
            return principal
        if principal.tenant_state != "active":
            raise AccessBlocked("Your organization is blocked. Contact its administrator.")
        if principal.project_state != "active":
            raise AccessBlocked(f"The project of this key is {principal.project_state}.")
        if principal.key_state == "blocked":
            raise AccessBlocked("This API key is blocked. Contact the administrator of its project.")
        if principal.key_state == "active" and principal.is_replaced:
            raise KeyIncorrect(f"The API key {_shown(secret)} has been replaced by a new one.")
        if principal.key_state == "active":
            raise KeyIncorrect(f"The API key {_shown(secret)} has expired.")
        raise _incorrect(secret)

    def _lapse(self, is_lapsed: bool) -> None:
        """Nobody knows any more which keys are good; or it is known again, but for what changed since."""
        if is_lapsed:
            self._lapsed, self._known = self._known, {}
        else:
            self._known, self._lapsed = {**self._lapsed, **self._known}, {}

    def _forget(self, subjects: set[str] | None) -> None:
        """What these ids name; None: everything."""
        self._generation += 1
        self._unknown.clear()
        self._known = {
            key: principal
            for key, principal in self._known.items()
            if subjects is not None
            and not subjects & {principal.api_key_id, principal.project_id, principal.tenant_id}
        }
        for notify in self.on_change:
            notify()


def _heard(task: asyncio.Task[Principal | None]) -> None:
    """A failure is no news where everybody who waited has left."""
    if not task.cancelled():
        task.exception()


def _bound(cache: dict[bytes, Any]) -> None:
    """Makes room by dropping what came first."""
    while len(cache) >= CACHED_MAX:
        del cache[next(iter(cache))]


def _shown(secret: bytes) -> str:
    return redact(secret.decode("ascii", "replace")) if len(secret) > 20 else "***"


def _incorrect(secret: bytes) -> KeyIncorrect:
    return KeyIncorrect(f"Incorrect API key provided: {_shown(secret)}.")
