"""/v1/organization/roles, and what role a user has, in OpenAI's shapes.

The roles are ours, the same four in every organization, and cannot be changed (ledger/roles.py). Each user
has exactly one, so giving one takes the other away.
"""

from collections.abc import Sequence
from typing import Annotated, Literal, TypeVar

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from admin.api.organization_users import (
    ROLE_PREFIX,
    OrganizationUser,
    Reading,
    Writing,
    parse_role_id,
)
from admin.auth import Here
from admin.within import Organization, organization_of
from ledger import memberships
from ledger.errors import NotFound, Refused
from ledger.roles import Permission, Role, permissions_of

router = APIRouter(tags=["organization: roles"])

DESCRIPTIONS = {
    Role.OWNER: "All that is the organization's own.",
    Role.ADMIN: "Projects, keys, limits and people; not the money, and not the organization's settings.",
    Role.BILLING: "Reads usage, costs and exports; no keys.",
    Role.READER: "Reads what is there; changes nothing.",
}


class RoleView(BaseModel):
    """OpenAI's `role`."""

    object: Literal["role"] = "role"
    id: Annotated[str, Field(examples=["role-admin"])]
    name: str
    description: str | None
    permissions: list[Permission]
    resource_type: Literal["api.organization"] = "api.organization"
    predefined_role: bool = True

    @classmethod
    def of(cls, role: Role) -> "RoleView":
        """The view of a role."""
        return cls(
            id=ROLE_PREFIX + role,
            name=role,
            description=DESCRIPTIONS[role],
            permissions=sorted(permissions_of(role)),
        )


R = TypeVar("R", bound=RoleView)


class RolePage(BaseModel):
    """OpenAI's list of roles; `next` is where the next page begins."""

    object: Literal["list"] = "list"
    data: list[RoleView]
    has_more: bool
    next: str | None


class AssignedRole(RoleView):
    """OpenAI's role of somebody: the same, and when it was given, where that is known."""

    created_at: int | None = None
    updated_at: int | None = None
    created_by: str | None = None
    created_by_user_obj: dict[str, str] | None = None
    metadata: dict[str, str] | None = None
    assignment_sources: list[dict[str, str]] | None = None


class AssignedRolePage(BaseModel):
    """OpenAI's list of what a user is: one role."""

    object: Literal["list"] = "list"
    data: list[AssignedRole]
    has_more: bool
    next: str | None


class RoleOrder(BaseModel):
    """Which role a user is given."""

    model_config = ConfigDict(extra="forbid")

    role_id: Annotated[str, Field(examples=["role-admin"])]


class UserRole(BaseModel):
    """OpenAI's `user.role`: who has it, and what it is."""

    object: Literal["user.role"] = "user.role"
    user: OrganizationUser
    role: RoleView


Order = Annotated[Literal["asc", "desc"], Query(description="From little to all that may be done, or back")]
RoleLimit = Annotated[int, Query(ge=0, le=1000)]
Next = Annotated[str | None, Query(description="`next` of the page before")]


@router.get("/roles")
async def list_roles(
    plane: Here,
    actor: Reading,
    *,
    organization: Organization = None,
    limit: RoleLimit = 1000,
    after: Next = None,
    order: Order = "asc",
) -> RolePage:
    """List the roles: the same four in every organization."""
    async with plane.database.read() as session:
        await organization_of(session, actor, organization)
    data, following = _page([RoleView.of(role) for role in _all(order)], limit, after)
    return RolePage(data=data, has_more=following is not None, next=following)


@router.get("/roles/{role_id}")
async def get_role(plane: Here, actor: Reading, role_id: str, organization: Organization = None) -> RoleView:
    """Show a role."""
    async with plane.database.read() as session:
        await organization_of(session, actor, organization)
    try:
        return RoleView.of(parse_role_id(role_id))
    except Refused:
        raise NotFound("role", role_id) from None


@router.get("/users/{user_id}/roles")
async def list_user_roles(
    plane: Here,
    actor: Reading,
    user_id: str,
    *,
    organization: Organization = None,
    limit: RoleLimit = 1000,
    after: Next = None,
    order: Order = "asc",
) -> AssignedRolePage:
    """List what a user is in the organization: one role."""
    async with plane.database.read() as session:
        tenant_id = await organization_of(session, actor, organization)
        membership, _ = await memberships.get_member(session, tenant_id, user_id)
    data, following = _page([_assigned(membership.role)], limit, after)
    return AssignedRolePage(data=data, has_more=following is not None, next=following)


@router.get("/users/{user_id}/roles/{role_id}")
async def get_user_role(
    plane: Here, actor: Reading, user_id: str, role_id: str, organization: Organization = None
) -> AssignedRole:
    """Show the role of a user, if this is it."""
    async with plane.database.read() as session:
        tenant_id = await organization_of(session, actor, organization)
        membership, _ = await memberships.get_member(session, tenant_id, user_id)
    if role_id != ROLE_PREFIX + membership.role:
        raise NotFound("role of that user", role_id)
    return _assigned(membership.role)


@router.post("/users/{user_id}/roles")
async def assign_user_role(
    plane: Here, actor: Writing, user_id: str, body: RoleOrder, organization: Organization = None
) -> UserRole:
    """Give a user a role in place of the one they have."""
    role = parse_role_id(body.role_id)
    async with plane.database.write() as session:
        tenant_id = await organization_of(session, actor, organization)
        member = await memberships.set_role(session, tenant_id, user_id, role, plane.now_us(), by=actor)
    return UserRole(user=OrganizationUser.of(member), role=RoleView.of(role))


def _assigned(role: Role) -> AssignedRole:
    return AssignedRole(**RoleView.of(role).model_dump())


def _all(order: str) -> list[Role]:
    rising = [Role.READER, Role.BILLING, Role.ADMIN, Role.OWNER]
    return rising if order == "asc" else rising[::-1]


def _page(roles: Sequence[R], limit: int, after: str | None) -> tuple[list[R], str | None]:
    """The roles from `after` on, and where the next page begins. Raises Refused for a place that is none."""
    ids = [role.id for role in roles]
    if after is not None and after not in ids:
        raise Refused("after is no `next` of a page of this list")
    begin = 0 if after is None else ids.index(after)
    following = ids[begin + limit : begin + limit + 1] if limit else ids[begin : begin + 1]
    return list(roles[begin : begin + limit]), following[0] if following else None
