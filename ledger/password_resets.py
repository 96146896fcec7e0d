"""Password resets: leave to set a user's password once, made by somebody above them.

Who sets a password can become that user, in every tenant of theirs: it takes somebody above them in all of
those (`memberships.must_be_above`).
"""

from typing import Final

from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from ledger import audit, memberships, tokens, users
from ledger.actors import Actor
from ledger.audit import Subject
from ledger.audit_events import Event
from ledger.errors import Refused, TokenRefused
from ledger.ids import new_id
from ledger.sessions import Origin
from ledger.states import UserState
from ledger.tables.people import PasswordReset, User
from ledger.tokens import Purpose

LIFE_US: Final = 86_400_000_000  # a day: whoever finds the message later finds nothing


async def create(
    session: AsyncSession, pepper: bytes, user_id: str, now_us: int, *, by: Actor
) -> tuple[PasswordReset, str, User]:
    """A new reset, its token, which is shown once and kept nowhere, and its user. One that waits is void.

    Raises NotFound for who is no member of the actor's tenant, Denied, Refused for a disabled user.
    """
    tenant_id = await memberships.must_be_above(session, user_id, by)
    user = await users.get_user(session, user_id)
    if user.state != UserState.ACTIVE:
        raise Refused(f"user {user_id} is disabled")
    await users.void_resets(session, user_id)
    secret = tokens.mint()
    reset = PasswordReset(
        id=new_id("reset_"),
        user_id=user_id,
        digest=tokens.digest(pepper, Purpose.PASSWORD_RESET, secret),
        created_us=now_us,
        expires_us=now_us + LIFE_US,
    )
    session.add(reset)
    facts = {"email": user.email, "expires_us": reset.expires_us}
    subject = Subject(user_id, tenant_id)
    await audit.record(session, by, Event.PASSWORD_RESET_CREATED, subject, None, facts, now_us)
    return reset, tokens.written(reset.id, secret), user


async def of_token(
    session: AsyncSession, pepper: bytes, text: str, now_us: int
) -> tuple[PasswordReset, User]:
    """The reset of a token that works, and its user. Raises TokenRefused."""
    token = tokens.read(text)
    reset = None if token is None else await session.get(PasswordReset, token.subject_id)
    if (
        token is None
        or reset is None
        or not tokens.is_same(reset.digest, tokens.digest(pepper, Purpose.PASSWORD_RESET, token.secret))
        or reset.used_us is not None
        or reset.expires_us <= now_us
    ):
        raise TokenRefused("password reset")
    user = await session.get(User, reset.user_id)
    if user is None or user.state != UserState.ACTIVE:
        raise TokenRefused("password reset")
    return reset, user


async def use(
    session: AsyncSession,
    reset: PasswordReset,
    user: User,
    credential_hash: str,
    now_us: int,
    *,
    origin: Origin,
) -> None:
    """Set the password, once: every session of the user ends. Raises TokenRefused, also where another was
    quicker.
    """
    using = (
        update(PasswordReset)
        .where(
            col(PasswordReset.id) == reset.id,
            col(PasswordReset.used_us).is_(None),
            col(PasswordReset.expires_us) > now_us,
        )
        .values(used_us=now_us)
    )
    if (await session.execute(using)).rowcount != 1:  # type: ignore[attr-defined]
        raise TokenRefused("password reset")
    by = memberships.themselves(user, origin)
    await users.set_credential(session, user, credential_hash, now_us, by=by)
