"""/admin/v1/session and what else is a person's own: logging in and out, passwords, accepting an invite."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from admin import letters, openapi_errors, session_cookie
from admin.actors import Actor, may
from admin.api.responses import Listing, Wanted
from admin.auth import Here, Plane
from admin.errors import CsrfFailed, ErrorBody
from admin.people_schemas import Ended, SessionRecord
from admin.schemas import Email, Instant, Name, Password, Resource
from admin.signed_in import CSRF_HEADER, Person, SignedIn, give_token
from admin.times import format_instant
from ledger import memberships, password_resets, sessions
from ledger.errors import NotFound
from ledger.logins import LoggedIn
from ledger.roles import Permission, Role
from ledger.tables.people import Membership, User, UserSession
from ledger.tables.tenancy import Tenant

router = APIRouter(tags=["sessions"])

TokenText = Annotated[str, Field(min_length=1, max_length=256, repr=False, examples=["invite-3fKq.9ZqT"])]

TOO_MANY: dict[int | str, dict[str, Any]] = {429: {"model": ErrorBody, **openapi_errors.TOO_MANY}}


class LoginOrder(BaseModel):
    """What logging in takes."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    email: Email
    password: Password


class PasswordChange(BaseModel):
    """What another password takes."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    old_password: Password
    new_password: Password


class Acceptance(BaseModel):
    """What accepting an invite takes. Who is a user already gives their own password and keeps their name."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    token: TokenText
    name: Name
    password: Password


class Reset(BaseModel):
    """What a new password takes of who was given a token for it."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    token: TokenText
    password: Password


class UserView(Resource):
    """A user."""

    id: str
    email: str
    name: str

    @classmethod
    def of(cls, user: User) -> "UserView":
        """The view of a row."""
        return cls(id=user.id, email=user.email, name=user.name)


class MembershipView(Resource):
    """What the user is in a tenant."""

    tenant_id: str
    tenant_name: str
    role: Role


class SessionView(Resource):
    """Who is logged in, what they are where, and what their pages prove themselves with."""

    user: UserView
    is_operator: bool
    memberships: list[MembershipView]
    csrf_token: Annotated[str, Field(description=f"For the header {CSRF_HEADER} of every unsafe method")]
    created_at: Instant
    expires_at: Annotated[Instant, Field(description="At the latest; earlier when it is not used")]
    idle_seconds: Annotated[int, Field(description="After so long without a call it is over")]


class OpenSession(SessionRecord):
    """Somewhere that one is logged in."""

    is_this: Annotated[bool, Field(description="Whether it is the one that asks")]


class ResetView(Resource):
    """Leave to set a user's password: `token` is shown this once and kept nowhere."""

    id: str
    object: Literal["password_reset"] = "password_reset"
    user_id: str
    token: str
    expires_at: Instant


@router.post("/session", responses=TOO_MANY)
async def log_in(request: Request, response: Response, plane: Here, body: LoginOrder) -> SessionView:
    """Log in: begins a session, and sets its cookie."""
    _must_be_of_this_site(request)
    origin = session_cookie.origin_of(request)
    begun = await plane.door.log_in(
        body.email, body.password, origin, _device(request, plane), plane.now_us()
    )
    return await _welcome(request, response, plane, begun)


@router.get("/session")
async def get_session(plane: Here, person: Person) -> SessionView:
    """Say who is logged in."""
    return await _view(plane, person.session, person.user)


@router.delete("/session")
async def log_out(request: Request, response: Response, plane: Here, person: Person) -> Ended:
    """Log out: this session is over."""
    return await _log_out(request, response, plane, person, person.session.id)


@router.delete("/sessions")
async def log_out_everywhere(request: Request, response: Response, plane: Here, person: Person) -> Ended:
    """Log out everywhere: every session of the user is over, this one too."""
    return await _log_out(request, response, plane, person, None)


@router.get("/sessions")
async def list_sessions(plane: Here, person: Person, wanted: Wanted) -> Listing[OpenSession]:
    """List where the user is logged in, the oldest first."""
    async with plane.database.read() as session:
        page = await sessions.page_of(session, person.user.id, wanted, plane.door.terms, plane.now_us())
    return Listing[OpenSession].of(page, lambda row: OpenSession.of(row, is_this=row.id == person.session.id))


@router.delete("/sessions/{session_id}")
async def end_session(
    request: Request, response: Response, plane: Here, person: Person, session_id: str
) -> Ended:
    """End one session of the user: a browser that was left somewhere."""
    if session_id == person.session.id:
        return await _log_out(request, response, plane, person, session_id)
    ended = await plane.door.log_out(person.user, session_id, person.origin, plane.now_us())
    if not ended:
        raise NotFound("session", session_id)
    return Ended(ended=ended)


@router.post("/session/password", responses=TOO_MANY)
async def change_password(
    request: Request, response: Response, plane: Here, person: Person, body: PasswordChange
) -> Ended:
    """Set another password. Every other session of the user is over, and this one gets another token."""
    ended, token = await plane.door.change_password(
        person.user, person.session.id, body.old_password, body.new_password, person.origin, plane.now_us()
    )
    if token is not None:
        give_token(request, response, plane, token)
    return Ended(ended=ended)


@router.post("/invites/accept", responses=TOO_MANY)
async def accept_invite(request: Request, response: Response, plane: Here, body: Acceptance) -> SessionView:
    """Accept an invite, and log in. Who is no user yet becomes one, with this name and password."""
    _must_be_of_this_site(request)
    begun = await plane.door.accept_invite(
        body.token,
        body.name,
        body.password,
        session_cookie.origin_of(request),
        _device(request, plane),
        plane.now_us(),
    )
    return await _welcome(request, response, plane, begun)


@router.post("/users/{user_id}/password-resets", status_code=201)
async def create_password_reset(
    plane: Here, actor: Annotated[Actor, may(Permission.PEOPLE_WRITE)], user_id: str
) -> ResetView:
    """Let a user set a new password. The token is shown this once; one that was made before works no more."""
    async with plane.database.write() as session:
        reset, token, user = await password_resets.create(
            session, plane.pepper, user_id, plane.now_us(), by=actor
        )
    await letters.send_password_reset(plane.letters, user.email, token)
    return ResetView(id=reset.id, user_id=user_id, token=token, expires_at=format_instant(reset.expires_us))


@router.post("/password-resets/accept", responses=TOO_MANY)
async def reset_password(request: Request, plane: Here, body: Reset) -> UserView:
    """Set a new password with the token of a reset. Every session of the user is over."""
    origin = session_cookie.origin_of(request)
    return UserView.of(await plane.door.reset_password(body.token, body.password, origin, plane.now_us()))


async def _welcome(request: Request, response: Response, plane: Plane, begun: LoggedIn) -> SessionView:
    give_token(request, response, plane, begun.token)
    session_cookie.write(
        request,
        response,
        session_cookie.DEVICE,
        begun.device,
        session_cookie.DEVICE_SECONDS,
        plane.secure_cookies,
    )
    return await _view(plane, begun.session, begun.user)


async def _log_out(
    request: Request, response: Response, plane: Plane, person: SignedIn, session_id: str | None
) -> Ended:
    ended = await plane.door.log_out(person.user, session_id, person.origin, plane.now_us())
    session_cookie.forget(request, response, session_cookie.SESSION, plane.secure_cookies)
    return Ended(ended=ended)


async def _view(plane: Plane, session_row: UserSession, user: User) -> SessionView:
    async with plane.database.read() as session:
        found = await memberships.list_tenants(session, user.id)
    return SessionView(
        user=UserView.of(user),
        is_operator=user.is_operator,
        memberships=[_membership(membership, tenant) for membership, tenant in found],
        csrf_token=sessions.csrf_token(plane.pepper, session_row.id),
        created_at=format_instant(session_row.created_us),
        expires_at=format_instant(session_row.expires_us),
        idle_seconds=plane.door.terms.idle_us // 1_000_000,
    )


def _membership(membership: Membership, tenant: Tenant) -> MembershipView:
    return MembershipView(tenant_id=tenant.id, tenant_name=tenant.name, role=membership.role)


def _device(request: Request, plane: Plane) -> str | None:
    return session_cookie.read(request, session_cookie.DEVICE, plane.secure_cookies)


def _must_be_of_this_site(request: Request) -> None:
    """Raises CsrfFailed where a browser says that another site sends this: nobody is logged in as somebody
    else without knowing.
    """
    if request.headers.get("sec-fetch-site") in {"cross-site", "same-site"}:
        raise CsrfFailed
