"""Users and their sessions as JSON, told by the control plane and the CLI: rules as in admin/schemas.py."""

from collections.abc import Iterable
from typing import Annotated, Any, Self

from pydantic import Field

from admin.schemas import Instant, Resource
from admin.times import format_instant
from ledger.roles import Role
from ledger.states import UserState
from ledger.tables.people import Membership, User, UserSession


class UserRole(Resource):
    """What a user is in a tenant."""

    tenant_id: str
    role: Role


class UserRecord(Resource):
    """A user, and what they are where; a tenant is told of itself alone."""

    id: str
    email: str
    name: str
    state: UserState
    operator: bool
    created_at: Instant
    last_login_at: Instant | None
    memberships: list[UserRole]

    @classmethod
    def of(cls, user: User, memberships: Iterable[Membership]) -> Self:
        """The view of rows."""
        return cls(
            id=user.id,
            email=user.email,
            name=user.name,
            state=user.state,
            operator=user.is_operator,
            created_at=format_instant(user.created_us),
            last_login_at=None if user.last_login_us is None else format_instant(user.last_login_us),
            memberships=[UserRole(tenant_id=one.tenant_id, role=one.role) for one in memberships],
        )


class SessionRecord(Resource):
    """Somewhere that a user is logged in."""

    id: str
    created_at: Instant
    last_seen_at: Annotated[Instant, Field(description="To the minute")]
    expires_at: Annotated[Instant, Field(description="At the latest; earlier when it is not used")]
    address: str | None
    user_agent: str | None

    @classmethod
    def of(cls, row: UserSession, **more: Any) -> Self:
        """The view of a row."""
        return cls(
            id=row.id,
            created_at=format_instant(row.created_us),
            last_seen_at=format_instant(row.seen_us),
            expires_at=format_instant(row.expires_us),
            address=row.address,
            user_agent=row.user_agent,
            **more,
        )


class Ended(Resource):
    """How many sessions ended."""

    ended: int
