"""What lets people in and is over: cleared away, a little while after it stopped working.

Sessions and counts of logins go at once; password resets stay for a month, for who asks what became of one.
Invites stay: lists show what became of them.
"""

from typing import Final

from sqlalchemy import delete
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from ledger import login_throttle, sessions
from ledger.session_terms import SessionTerms
from ledger.tables.people import PasswordReset

RESETS_KEPT_US: Final = 30 * 86_400_000_000
RATES_AT_ONCE: Final = 10_000
"""Rows of the throttle in one turn: each is found through an index."""


async def clear(session: AsyncSession, terms: SessionTerms, now_us: int) -> int:
    """Deletes what is over; how many rows. The caller commits."""
    resets = delete(PasswordReset).where(col(PasswordReset.expires_us) < now_us - RESETS_KEPT_US)
    return (
        await sessions.clear(session, terms, now_us)
        + await login_throttle.clear(session, now_us, at_most=RATES_AT_ONCE)
        + int((await session.execute(resets)).rowcount)  # type: ignore[attr-defined]
    )
