"""Sessions of a user, looked at and ended by somebody above them: a browser that was left somewhere, a stolen
token.

Where and when somebody is logged in is theirs in all their tenants, so it takes somebody above them in all of
those (`memberships.must_be_above`). Sessions themselves: ledger/sessions.py; what users do with their own:
ledger/logins.py.
"""

from sqlalchemy.ext.asyncio import AsyncSession

from ledger import memberships, sessions, users
from ledger.actors import Actor
from ledger.audit_events import Event
from ledger.errors import NotFound
from ledger.places import Cut, Page
from ledger.session_terms import SessionTerms
from ledger.tables.people import UserSession


async def page_of(
    session: AsyncSession, user_id: str, cut: Cut, terms: SessionTerms, now_us: int, *, by: Actor
) -> Page[UserSession]:
    """A page of the sessions of a user that are not over, the oldest first. Raises NotFound for who is no
    member of the actor's tenant, Denied, Refused.
    """
    await memberships.must_be_above(session, user_id, by)
    await users.get_user(session, user_id)
    return await sessions.page_of(session, user_id, cut, terms, now_us)


async def end(session: AsyncSession, user_id: str, session_id: str, now_us: int, *, by: Actor) -> int:
    """End a session of a user; one. Raises NotFound, also for a session that is over or another's; Denied."""
    await memberships.must_be_above(session, user_id, by)
    user = await users.get_user(session, user_id)
    ended = await sessions.end(session, user_id, session_id)
    if not ended:
        raise NotFound("session", session_id)
    facts = {"session_id": session_id, "sessions_ended": ended}
    await users.record_for_tenants(session, by, Event.LOGOUT_SUCCEEDED, user, facts, None, now_us)
    return ended


async def end_all(session: AsyncSession, user_id: str, now_us: int, *, by: Actor) -> int:
    """End every session of a user; how many ended. Raises NotFound for who is no member of the actor's
    tenant, Denied.
    """
    await memberships.must_be_above(session, user_id, by)
    user = await users.get_user(session, user_id)
    ended = await sessions.end_all(session, user_id)
    if ended:
        facts = {"session_id": None, "sessions_ended": ended}
        await users.record_for_tenants(session, by, Event.LOGOUT_SUCCEEDED, user, facts, None, now_us)
    return ended
