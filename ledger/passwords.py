"""Hashing and checking passwords: argon2id, through passlib's interface.

Rules: never on the event loop; at most AT_ONCE hashes at a time, since each takes tens of milliseconds of a
core and as much memory as is set, and at most WAITING_MAX wait for their turn: a flood of logins costs two
cores and 128 MiB, and no more. A user who is not there takes as long to check as one who is. It does not know
who tries how often: that is ledger/login_throttle.py.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cached_property
from typing import Any, Final, NamedTuple

from ledger import password_rules
from ledger.errors import TooManyAttempts

MEMORY_MIB: Final = 64
PASSES: Final = 3
"""With 64 MiB: RFC 9106, section 4, the second recommended option, with one lane."""
AT_ONCE: Final = 2
WAITING_MAX: Final = 32


class Verdict(NamedTuple):
    """Whether a password is right; and its new hash, where the kept one was made with other parameters."""

    is_right: bool
    renewed: str | None = None


class Passwords:
    """Hashes with one set of parameters, and checks against any."""

    def __init__(self, memory_mib: int = MEMORY_MIB) -> None:
        """`memory_mib`: what one hash takes."""
        self._memory_mib = memory_mib
        self._turn = asyncio.Semaphore(AT_ONCE)
        self._waiting = 0
        self._nobodys: str | None = None

    async def hash(self, password: str, email: str) -> str:
        """A hash to keep. Raises Refused for a password that its user may not have, TooManyAttempts."""
        text = password_rules.checked(password, email)
        async with self._turns():
            return await asyncio.to_thread(self._hash, text)

    async def verify(self, password: str, kept: str | None) -> Verdict:
        """Whether this is the password that `kept` was made of; None: a user who is not there, or has none.
        Raises TooManyAttempts.
        """
        if len(password) > password_rules.CHARS_MAX:
            return Verdict(False)  # no hash was ever made of one, whoever it is
        # Half a surrogate pair is in no password; it takes as long as any other wrong one.
        text = password_rules.normalized(password).encode(errors="replace").decode()
        async with self._turns():
            return await asyncio.to_thread(self._verify, text, kept)

    @cached_property
    def _argon2(self) -> Any:
        from passlib.hash import argon2  # noqa: PLC0415 (for the first password: commands have none)

        return argon2.using(type="ID", memory_cost=self._memory_mib * 1024, rounds=PASSES, parallelism=1)

    def _hash(self, text: str) -> str:
        made: str = self._argon2.hash(text)
        return made

    def _verify(self, text: str, kept: str | None) -> Verdict:
        if self._nobodys is None:  # at the first check, whoever it is of
            self._nobodys = self._hash(secrets.token_urlsafe(32))
        if kept is None:
            self._argon2.verify(text, self._nobodys)
            return Verdict(False)
        is_right = bool(self._argon2.verify(text, kept))
        renewed = self._hash(text) if is_right and self._argon2.needs_update(kept) else None
        return Verdict(is_right, renewed)

    @asynccontextmanager
    async def _turns(self) -> AsyncIterator[None]:
        if self._waiting >= WAITING_MAX:
            raise TooManyAttempts(1_000_000)
        self._waiting += 1
        try:
            async with self._turn:
                yield
        finally:
            self._waiting -= 1
