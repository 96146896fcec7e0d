"""/admin/v1/users: people who log in, whatever they are a member of.

The operator sees all of them, and alone makes them and gives them passwords. A tenant's people see its own
members, of whom they are told nothing about other tenants; who comes in and with which role is said under
/v1/organization (invites, users). What users do for themselves is admin/api/session.py's.
"""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.ext.asyncio import AsyncSession

from admin.actors import Actor, may
from admin.api.responses import Listing, Wanted
from admin.auth import Here, Plane
from admin.people_schemas import UserRecord
from admin.schemas import Email, MemberRole, Name, Password
from admin.within import tenant_of, user_of
from ledger import memberships, users
from ledger.emails import parse_email
from ledger.errors import Refused
from ledger.roles import Permission, Role
from ledger.states import UserState
from ledger.tables.people import User

router = APIRouter(prefix="/users", tags=["users"])

Reading = Annotated[Actor, may(Permission.PEOPLE_READ)]
Writing = Annotated[Actor, may(Permission.PEOPLE_WRITE)]
Making = Annotated[Actor, may(Permission.USERS_WRITE)]


class UserOrder(BaseModel):
    """What a new user is told."""

    model_config = ConfigDict(
        extra="forbid",
        hide_input_in_errors=True,
        json_schema_extra={
            "example": {
                "email": "ann@example.com",
                "name": "Ann Lee",
                "tenant_id": "org-3fKq9ZqT7mXbN2cVwLp4RdYh",
                "role": "owner",
            }
        },
    )

    email: Email
    name: Name
    password: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=4096,
            repr=False,
            description="Null: they set one with the token of a password reset",
            json_schema_extra={"format": "password"},
        ),
    ] = None
    tenant_id: Annotated[str | None, Field(description="What they are a member of")] = None
    role: MemberRole = "reader"
    operator: Annotated[bool, Field(description="Of the service itself, in every tenant")] = False


class PasswordOrder(BaseModel):
    """Another password."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    password: Password


@router.get("")
async def list_users(
    plane: Here,
    actor: Reading,
    wanted: Wanted,
    tenant_id: Annotated[str | None, Query(description="Its members alone")] = None,
    email: Annotated[str | None, Query(max_length=1024, description="Of this address alone")] = None,
) -> Listing[UserRecord]:
    """List the users, or a tenant's members, the oldest first."""
    async with plane.database.read() as session:
        if tenant_id is not None and actor.tenant_id is not None:  # operators may ask for what is not there
            await tenant_of(session, actor, tenant_id)
        page = await users.page_users(session, wanted, tenant_id=tenant_id or actor.tenant_id, email=email)
        views = await _views(session, actor, page.rows)
    return Listing[UserRecord].of(page, lambda user: views[user.id])


@router.post("", status_code=201)
async def create_user(plane: Here, actor: Making, body: UserOrder) -> UserRecord:
    """Make a user, as a member of a tenant or as an operator."""
    if (body.tenant_id is None) is not body.operator:
        raise Refused("say of which tenant_id, or operator", param="tenant_id")
    address, hashed = parse_email(body.email), None
    if body.password is not None:
        hashed = await plane.door.passwords.hash(body.password, address)
    now = plane.now_us()
    async with plane.database.write() as session:
        user = await users.create_user(
            session, address, body.name, now, by=actor, credential_hash=hashed, is_operator=body.operator
        )
        if body.tenant_id is not None:
            await memberships.join(session, user, body.tenant_id, Role(body.role), now, by=actor)
        return await _view(session, actor, user)


@router.get("/{user_id}")
async def get_user(plane: Here, actor: Reading, user_id: str) -> UserRecord:
    """Show a user."""
    async with plane.database.read() as session:
        return await _view(session, actor, await user_of(session, actor, user_id))


@router.post("/{user_id}/disable")
async def disable_user(plane: Here, actor: Writing, user_id: str) -> UserRecord:
    """Log a user out everywhere, and let them in no more."""
    return await _set_state(plane, actor, user_id, UserState.DISABLED)


@router.post("/{user_id}/enable")
async def enable_user(plane: Here, actor: Writing, user_id: str) -> UserRecord:
    """Let a disabled user in again."""
    return await _set_state(plane, actor, user_id, UserState.ACTIVE)


@router.post("/{user_id}/password")
async def set_user_password(plane: Here, actor: Making, user_id: str, body: PasswordOrder) -> UserRecord:
    """Give a user another password: all their sessions end."""
    async with plane.database.read() as session:
        email = (await user_of(session, actor, user_id)).email
    hashed = await plane.door.passwords.hash(body.password, email)
    async with plane.database.write() as session:
        user = await users.get_user(session, user_id)
        await users.set_credential(session, user, hashed, plane.now_us(), by=actor)
        return await _view(session, actor, user)


async def _set_state(plane: Plane, actor: Actor, user_id: str, state: UserState) -> UserRecord:
    async with plane.database.write() as session:
        user = await memberships.set_state(session, user_id, state, plane.now_us(), by=actor)
        return await _view(session, actor, user)


async def _view(session: AsyncSession, actor: Actor, user: User) -> UserRecord:
    await session.flush()
    return (await _views(session, actor, [user]))[user.id]


async def _views(session: AsyncSession, actor: Actor, found: Sequence[User]) -> dict[str, UserRecord]:
    """By their ids, as the actor may see them: a tenant is told what they are in it, and nothing more."""
    theirs = await memberships.of_users(session, [user.id for user in found], actor.tenant_id)
    return {user.id: UserRecord.of(user, theirs[user.id]) for user in found}
