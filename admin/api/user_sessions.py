"""/admin/v1/users/{user_id}/sessions: where a user is logged in, for somebody above them.

It tells where somebody is and when they work, so it takes the permission to log them out. What people do with
their own sessions is admin/api/session.py's.
"""

from typing import Annotated

from fastapi import APIRouter

from admin.actors import Actor, may
from admin.api.responses import Listing, Wanted
from admin.auth import Here
from admin.people_schemas import Ended, SessionRecord
from ledger import open_sessions
from ledger.roles import Permission

router = APIRouter(prefix="/users/{user_id}/sessions", tags=["users"])

Writing = Annotated[Actor, may(Permission.PEOPLE_WRITE)]


@router.get("")
async def list_user_sessions(
    plane: Here, actor: Writing, user_id: str, wanted: Wanted
) -> Listing[SessionRecord]:
    """List where a user is logged in, the oldest first."""
    async with plane.database.read() as session:
        page = await open_sessions.page_of(
            session, user_id, wanted, plane.session_terms, plane.now_us(), by=actor
        )
    return Listing[SessionRecord].of(page, SessionRecord.of)


@router.delete("")
async def end_user_sessions(plane: Here, actor: Writing, user_id: str) -> Ended:
    """Log a user out everywhere; they may log in again."""
    async with plane.database.write() as session:
        return Ended(ended=await open_sessions.end_all(session, user_id, plane.now_us(), by=actor))


@router.delete("/{session_id}")
async def end_user_session(plane: Here, actor: Writing, user_id: str, session_id: str) -> Ended:
    """Log a user out in one place: a browser that was left somewhere."""
    async with plane.database.write() as session:
        return Ended(ended=await open_sessions.end(session, user_id, session_id, plane.now_us(), by=actor))
