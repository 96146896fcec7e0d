"""Who asks with a session's cookie: the console's pages, in a browser.

Rules: every unsafe method needs the session's CSRF token in the header X-CSRF-Token, which no other site can
read or send. The cookie's token is turned over on the way, where it is time.
"""

import hmac
from dataclasses import dataclass
from typing import Annotated, Final

from fastapi import Depends, Request, Response
from fastapi.security import APIKeyCookie

from admin import session_cookie
from admin.auth import Here, Plane
from admin.errors import CsrfFailed, Unauthenticated
from ledger import sessions
from ledger.sessions import Origin
from ledger.tables.people import User, UserSession

CSRF_HEADER: Final = "X-CSRF-Token"
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})

cookie = APIKeyCookie(
    name=session_cookie.SESSION,
    auto_error=False,
    scheme_name="Session",
    description=f"A console session (`POST /admin/v1/session`). Unsafe methods need {CSRF_HEADER}, too.",
)


Cookie = Annotated[str | None, Depends(cookie)]


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A user with a session that is good."""

    session: UserSession
    user: User
    csrf_token: str
    origin: Origin


async def find_signed_in(request: Request, response: Response, plane: Plane) -> SignedIn | None:
    """The user of the request's cookie, None where there is none. Raises Unauthenticated for a session that
    is over, CsrfFailed.
    """
    text = session_cookie.read(request, session_cookie.SESSION, plane.secure_cookies)
    if text is None:
        return None
    terms, now_us = plane.door.terms, plane.now_us()
    async with plane.database.read() as session:
        found = await sessions.find(session, plane.pepper, text, terms, now_us)
    if found is None:
        raise Unauthenticated("Your session is over: log in again.")
    csrf_token = sessions.csrf_token(plane.pepper, found.session.id)
    if request.method not in SAFE_METHODS:
        given = request.headers.get(CSRF_HEADER, "")
        if not hmac.compare_digest(given.encode(), csrf_token.encode()):
            raise CsrfFailed
    if found.is_due:
        async with plane.database.write() as session:
            token = await sessions.turn(session, plane.pepper, text, terms, now_us)
        if token is not None:
            give_token(request, response, plane, token)
    return SignedIn(found.session, found.user, csrf_token, session_cookie.origin_of(request))


async def signed_in(request: Request, response: Response, plane: Here, _: Cookie) -> SignedIn:
    """The user of the request's cookie. Raises Unauthenticated, CsrfFailed."""
    found = await find_signed_in(request, response, plane)
    if found is None:
        raise Unauthenticated("You are not logged in.")
    return found


Person = Annotated[SignedIn, Depends(signed_in)]


def give_token(request: Request, response: Response, plane: Plane, token: str) -> None:
    """Give a session's token to the browser, for as long as it is open."""
    session_cookie.write(request, response, session_cookie.SESSION, token, None, plane.secure_cookies)
