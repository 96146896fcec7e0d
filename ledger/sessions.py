"""Sessions of users: beginning, finding, turning over, ending.

A session ends at its absolute time, and when nobody has used it for the idle time; when its user is disabled,
changes the password, or says so. Its token is turned over now and then: the next one is given out while the
one of now still works, and takes its place when it is first seen, so that an answer that gets lost logs
nobody out; the one before works on for what was under way. A stolen token is worth nothing from then on.

Who finds a session writes nothing, but when it is time to: `Found.is_due`. No token is kept; whoever reads
the database can neither log in nor make a CSRF token.
"""

from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from sqlalchemy import delete, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from ledger import tokens
from ledger.ids import new_id
from ledger.places import Cut, Order, Page
from ledger.session_terms import SessionTerms
from ledger.states import UserState
from ledger.tables.people import User, UserSession
from ledger.tokens import Purpose

SESSIONS_MAX: Final = 20
"""Of one user: the oldest ends when another begins."""
SEEN_EVERY_US: Final = 60_000_000
"""How exactly it is kept when a session was used: a page with fifty calls writes once."""
PREVIOUS_LIFE_US: Final = 30_000_000
"""How long the token before works on, for calls that were under way when it was turned over."""
NEXT_LIFE_US: Final = 60_000_000
"""How long is waited for a token that was given out, before another one is."""
USER_AGENT_CHARS_MAX: Final = 200

_OLDEST_FIRST: Final[Order[UserSession]] = Order(
    (col(UserSession.created_us), col(UserSession.id)), (int, str), lambda row: (row.created_us, row.id)
)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a request comes from."""

    address: str | None = None
    user_agent: str | None = None


class _Which(Enum):
    CURRENT = auto()
    NEXT = auto()
    PREVIOUS = auto()


@dataclass(frozen=True, slots=True)
class Found:
    """A session that is good, and its user; `is_due`: `turn` has something to write."""

    session: UserSession
    user: User
    is_due: bool


async def begin(
    session: AsyncSession, pepper: bytes, user: User, origin: Origin, terms: SessionTerms, now_us: int
) -> tuple[UserSession, str]:
    """A new session and its token. The user's oldest ends where they have too many."""
    old = select(col(UserSession.id)).where(col(UserSession.user_id) == user.id)
    kept = old.order_by(col(UserSession.created_us).desc(), col(UserSession.id)).limit(SESSIONS_MAX - 1)
    ids = list((await session.execute(kept)).scalars())
    await session.execute(
        delete(UserSession).where(col(UserSession.user_id) == user.id, col(UserSession.id).not_in(ids))
    )
    secret = tokens.mint()
    made = UserSession(
        id=new_id("session_"),
        user_id=user.id,
        digest=tokens.digest(pepper, Purpose.SESSION, secret),
        turned_us=now_us,
        created_us=now_us,
        seen_us=now_us,
        expires_us=now_us + terms.absolute_us,
        address=origin.address,
        user_agent=None if origin.user_agent is None else origin.user_agent[:USER_AGENT_CHARS_MAX],
    )
    session.add(made)
    return made, tokens.written(made.id, secret)


async def find(
    session: AsyncSession, pepper: bytes, text: str, terms: SessionTerms, now_us: int
) -> Found | None:
    """The session of a token, or None."""
    token = tokens.read(text)
    if token is None:
        return None
    query = (
        select(UserSession, User)
        .join(User, col(User.id) == col(UserSession.user_id))
        .where(col(UserSession.id) == token.subject_id)
    )
    row = (await session.execute(query)).one_or_none()
    if row is None:
        return None
    found, user = row
    which = _which(found, tokens.digest(pepper, Purpose.SESSION, token.secret), now_us)
    is_over = found.expires_us <= now_us or found.seen_us + terms.idle_us <= now_us
    if which is None or is_over or user.state != UserState.ACTIVE:
        return None
    is_due = (
        which is _Which.NEXT
        or found.seen_us + SEEN_EVERY_US <= now_us
        or _wants_next(found, which, terms, now_us)
    )
    return Found(found, user, is_due)


async def turn(
    session: AsyncSession, pepper: bytes, text: str, terms: SessionTerms, now_us: int
) -> str | None:
    """Keeps that the session of this token was used, and turns the token over where it is time. The next
    token to give out, if there is one.
    """
    token = tokens.read(text)
    found = None if token is None else await _held(session, token.subject_id)
    if token is None or found is None:
        return None
    which = _which(found, tokens.digest(pepper, Purpose.SESSION, token.secret), now_us)
    if which is None:
        return None
    found.seen_us = max(found.seen_us, now_us)
    if which is _Which.NEXT:
        assert found.next_digest is not None
        found.previous_digest, found.digest = found.digest, found.next_digest
        found.next_digest, found.next_us, found.turned_us = None, None, now_us
        which = _Which.CURRENT
    if _wants_next(found, which, terms, now_us):
        secret = tokens.mint()
        found.next_digest, found.next_us = tokens.digest(pepper, Purpose.SESSION, secret), now_us
        return tokens.written(found.id, secret)
    return None


async def renew(session: AsyncSession, pepper: bytes, session_id: str, now_us: int) -> str | None:
    """Give a session another token at once: every one from before is worth nothing. The token; None where
    the session is over.
    """
    found = await _held(session, session_id)
    if found is None:
        return None
    secret = tokens.mint()
    found.digest, found.turned_us = tokens.digest(pepper, Purpose.SESSION, secret), now_us
    found.next_digest, found.next_us, found.previous_digest = None, None, None
    return tokens.written(session_id, secret)


async def page_of(
    session: AsyncSession, user_id: str, cut: Cut, terms: SessionTerms, now_us: int
) -> Page[UserSession]:
    """A page of the sessions of a user that are not over, the oldest first. Raises Refused."""
    query = select(UserSession).where(
        col(UserSession.user_id) == user_id,
        col(UserSession.expires_us) > now_us,
        col(UserSession.seen_us) > now_us - terms.idle_us,
    )
    return await _OLDEST_FIRST.page(session, query, cut)


async def end(session: AsyncSession, user_id: str, session_id: str) -> int:
    """End a session of a user; how many ended: none, where it is over or another's."""
    one = delete(UserSession).where(col(UserSession.id) == session_id, col(UserSession.user_id) == user_id)
    ended = await session.execute(one)
    return int(ended.rowcount)  # type: ignore[attr-defined]


async def end_all(session: AsyncSession, user_id: str, *, but: str | None = None) -> int:
    """End every session of a user but one; how many ended."""
    all_of_them = delete(UserSession).where(col(UserSession.user_id) == user_id)
    if but is not None:
        all_of_them = all_of_them.where(col(UserSession.id) != but)
    return int((await session.execute(all_of_them)).rowcount)  # type: ignore[attr-defined]


async def clear(session: AsyncSession, terms: SessionTerms, now_us: int) -> int:
    """Deletes sessions that are over; how many."""
    over = or_(col(UserSession.expires_us) <= now_us, col(UserSession.seen_us) <= now_us - terms.idle_us)
    return int((await session.execute(delete(UserSession).where(over))).rowcount)  # type: ignore[attr-defined]


def csrf_token(pepper: bytes, session_id: str) -> str:
    """What a page of this session proves that it is ours with: the same as long as the session lasts."""
    return tokens.digest(pepper, Purpose.CSRF, session_id).hex()


async def _held(session: AsyncSession, session_id: str) -> UserSession | None:
    """The session as it is now, locked until the commit."""
    query = select(UserSession).where(col(UserSession.id) == session_id).with_for_update()
    return (await session.execute(query.execution_options(populate_existing=True))).scalar_one_or_none()


def _which(found: UserSession, given: bytes, now_us: int) -> _Which | None:
    if tokens.is_same(found.digest, given):
        return _Which.CURRENT
    if tokens.is_same(found.next_digest, given):
        return _Which.NEXT
    if tokens.is_same(found.previous_digest, given) and now_us < found.turned_us + PREVIOUS_LIFE_US:
        return _Which.PREVIOUS
    return None


def _wants_next(found: UserSession, which: _Which, terms: SessionTerms, now_us: int) -> bool:
    """Whether it is time to give another token out: to whoever has the one of now, and nobody waits for one
    that is under way.
    """
    is_waited_for = found.next_us is not None and now_us < found.next_us + NEXT_LIFE_US
    return which is _Which.CURRENT and not is_waited_for and found.turned_us + terms.turn_us <= now_us
