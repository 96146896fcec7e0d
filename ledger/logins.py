"""Logging in, and what else takes a password: accepting an invite, a reset, a new password.

The order is always the same: the throttle first, in a transaction of its own, so that parallel guesses count;
then the hash, in a thread, while no connection is held; then one transaction that holds the user and looks
whether what was verified is still so. Right or wrong, known or unknown, an attempt does the same work and is
told the same.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from sqlalchemy.ext.asyncio import AsyncSession

from ledger import invites, known_devices, login_throttle, memberships, password_resets, sessions, users
from ledger.actors import PROGRAM
from ledger.audit_events import Event
from ledger.database import Database
from ledger.emails import CHARS_MAX as EMAIL_CHARS_MAX
from ledger.emails import parse_email
from ledger.errors import AlreadyExists, Refused, TokenRefused, TooManyAttempts, WrongCredentials
from ledger.login_counts import Outcome
from ledger.passwords import Passwords, Verdict
from ledger.session_terms import SessionTerms
from ledger.sessions import Origin
from ledger.states import UserState
from ledger.tables.people import User, UserSession


@dataclass(frozen=True, slots=True)
class LoggedIn:
    """A session that has begun: its token, and the mark by which the browser is known from now on."""

    session: UserSession
    user: User
    token: str = field(repr=False)
    device: str = field(repr=False)


def _unheard(outcome: Outcome, user_id: str | None, origin: Origin) -> None:
    """Nobody wants to know."""


@dataclass(frozen=True, slots=True)
class Door:
    """What logins stand on."""

    database: Database
    pepper: bytes = field(repr=False)
    passwords: Passwords
    terms: SessionTerms
    heard: Callable[[Outcome, str | None, Origin], None] = _unheard
    """Told how each attempt came out: whose it would have been, and from where. It must not wait."""

    async def log_in(
        self, email: str, password: str, origin: Origin, device: str | None, now_us: int
    ) -> LoggedIn:
        """Begin a session. Raises WrongCredentials, TooManyAttempts."""
        user, verdict = await self._verified(email, password, origin, device, now_us)
        async with self.database.write() as session:
            return await self._enter(session, user, verdict, origin, now_us)

    async def change_password(
        self, user: User, session_id: str, old: str, new: str, origin: Origin, now_us: int
    ) -> tuple[int, str | None]:
        """Set another password, by who knows the old one: all other sessions end, and this one gets another
        token. How many ended, and the token.

        Raises WrongCredentials, TooManyAttempts, and Refused for the new one. Guesses at the old one are
        throttled for this session alone: whoever holds it keeps nobody from logging in.
        """
        taken = login_throttle.buckets(self.pepper, user.email, origin.address, session_id)
        await self._counted(taken, old, user, origin, now_us)
        credential_hash = await self.passwords.hash(new, user.email)
        async with self.database.write() as session:
            held = await users.hold(session, user.id, user.credential_hash)
            by = memberships.themselves(held, origin)
            await login_throttle.give_back(session, taken)
            token = await sessions.renew(session, self.pepper, session_id, now_us)
            ended = await users.set_credential(
                session, held, credential_hash, now_us, by=by, keep_session=session_id
            )
            return ended, token

    async def log_out(self, user: User, session_id: str | None, origin: Origin, now_us: int) -> int:
        """End a session of the user, None: all of them. How many ended."""
        async with self.database.write() as session:
            if session_id is None:
                ended = await sessions.end_all(session, user.id)
            else:
                ended = await sessions.end(session, user.id, session_id)
            if not ended:
                return 0
            by = memberships.themselves(user, origin)
            facts = {"session_id": session_id, "sessions_ended": ended}
            await users.record_for_tenants(session, by, Event.LOGOUT_SUCCEEDED, user, facts, None, now_us)
            return ended

    async def accept_invite(
        self, token: str, name: str, password: str, origin: Origin, device: str | None, now_us: int
    ) -> LoggedIn:
        """Become what an invite says, and log in. Who is no user yet becomes one, with this password; who is
        one shows theirs. Raises TokenRefused, WrongCredentials, TooManyAttempts, Refused.
        """
        async with self.database.read() as session:
            invite = await invites.of_token(session, self.pepper, token, now_us)
            known = await users.find_user(session, invite.email)
        if known is not None:
            user, verdict = await self._verified(invite.email, password, origin, device, now_us)
            async with self.database.write() as session:
                await users.hold(session, user.id, user.credential_hash)  # before the audit log's lock
                await invites.accept(session, invite, user, now_us, origin=origin)
                return await self._enter(session, user, verdict, origin, now_us)
        credential_hash = await self.passwords.hash(password, invite.email)
        async with self.database.write() as session:
            made = await self._new_user(session, invite.email, name, credential_hash, origin, now_us)
            await invites.accept(session, invite, made, now_us, origin=origin)
            return await self._enter(session, made, Verdict(True), origin, now_us)

    async def reset_password(self, token: str, password: str, origin: Origin, now_us: int) -> User:
        """Set the password of a reset's user, once: all their sessions end. Raises TokenRefused, and Refused
        for the password.
        """
        async with self.database.read() as session:
            reset, user = await password_resets.of_token(session, self.pepper, token, now_us)
        credential_hash = await self.passwords.hash(password, user.email)
        async with self.database.write() as session:
            reset, user = await password_resets.of_token(session, self.pepper, token, now_us)
            await password_resets.use(session, reset, user, credential_hash, now_us, origin=origin)
            return user

    async def _verified(
        self, email: str, password: str, origin: Origin, device: str | None, now_us: int
    ) -> tuple[User, Verdict]:
        """The user of an address whose password this is. Raises WrongCredentials, TooManyAttempts."""
        try:
            address = parse_email(email)
        except Refused:
            address = email[:EMAIL_CHARS_MAX].lower()  # nobody's; it is counted, and takes as long
        async with self.database.read() as session:
            user = await users.find_user(session, address)
        known = known_devices.known(self.pepper, address, device)
        taken = login_throttle.buckets(self.pepper, address, origin.address, known)
        verdict = await self._counted(taken, password, user, origin, now_us)
        assert user is not None, "a password is somebody's"
        async with self.database.write() as session:
            await login_throttle.give_back(session, taken)
        return user, verdict

    async def _counted(
        self,
        taken: list[login_throttle.Bucket],
        password: str,
        user: User | None,
        origin: Origin,
        now_us: int,
    ) -> Verdict:
        """That it is the password of this user, who is there and active. Raises WrongCredentials,
        TooManyAttempts.
        """
        is_active = user is not None and user.state == UserState.ACTIVE
        kept = user.credential_hash if user is not None and is_active else None
        user_id = None if user is None else user.id
        try:
            async with self.database.write() as session:
                await login_throttle.take(session, taken, now_us)
            verdict = await self.passwords.verify(password, kept)
        except TooManyAttempts:
            self.heard(Outcome.THROTTLED, user_id, origin)
            raise
        if not verdict.is_right:
            self.heard(Outcome.FAILED, user_id, origin)
            raise WrongCredentials
        return verdict

    async def _enter(
        self, session: AsyncSession, user: User, verdict: Verdict, origin: Origin, now_us: int
    ) -> LoggedIn:
        held = await users.hold(session, user.id, user.credential_hash)
        if verdict.renewed is not None:
            held.credential_hash = verdict.renewed
        held.last_login_us = now_us
        begun, token = await sessions.begin(session, self.pepper, held, origin, self.terms, now_us)
        await session.flush()
        by = memberships.themselves(held, origin)
        facts = {"session_id": begun.id}
        await users.record_for_tenants(session, by, Event.LOGIN_SUCCEEDED, held, None, facts, now_us)
        self.heard(Outcome.SUCCEEDED, held.id, origin)
        return LoggedIn(begun, held, token, known_devices.mark(self.pepper, held.email))

    async def _new_user(
        self,
        session: AsyncSession,
        email: str,
        name: str,
        credential_hash: str,
        origin: Origin,
        now_us: int,
    ) -> User:
        """Raises TokenRefused where another call has made them meanwhile."""
        by = replace(PROGRAM, address=origin.address, user_agent=origin.user_agent)
        try:
            return await users.create_user(
                session, email, name, now_us, by=by, credential_hash=credential_hash
            )
        except AlreadyExists:
            raise TokenRefused("invite") from None
