"""Users and invites as JSON, told by the control plane and the CLI: rules as in admin/schemas.py."""

from collections.abc import Iterable
from typing import Self

from admin.schemas import Instant, Resource
from admin.times import format_instant
from ledger.roles import Role
from ledger.states import UserState
from ledger.tables.people import Membership, User


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
