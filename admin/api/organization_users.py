"""/v1/organization/users: the members of a tenant, in OpenAI's shapes.

OpenAI's two roles are ours like this: `owner` is our owner, and every other role shows as `reader`; the exact
one stands beside it as `metergate_role`. Setting takes all four of ours.
"""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from admin.actors import Actor, may
from admin.auth import Here
from admin.schemas import MemberRole
from admin.within import Organization, organization_of
from ledger import memberships
from ledger.errors import Refused
from ledger.memberships import Member
from ledger.roles import Permission, Role
from ledger.states import UserState

US_PER_SECOND = 1_000_000
ROLE_PREFIX = "role-"

router = APIRouter(tags=["organization: users"])

Reading = Annotated[Actor, may(Permission.PEOPLE_READ)]
Writing = Annotated[Actor, may(Permission.PEOPLE_WRITE)]
Limit = Annotated[int, Query(ge=1, le=100)]
After = Annotated[str | None, Query(description="The id that the page before ended with")]


def openai_role(role: Role) -> Literal["owner", "reader"]:
    """OpenAI's word for a role of ours."""
    return "owner" if role is Role.OWNER else "reader"


class UserDetails(BaseModel):
    """OpenAI's `user`: the person, whatever they are a member of."""

    object: Literal["user"] = "user"
    id: str
    email: str | None
    name: str | None
    enabled: bool


class OrganizationUser(BaseModel):
    """OpenAI's `organization.user`. Times are whole seconds since the Unix epoch."""

    object: Literal["organization.user"] = "organization.user"
    id: str
    name: str | None
    email: str | None
    role: Annotated[str, Field(description="`owner` or `reader`: see `metergate_role`")]
    metergate_role: Annotated[Role, Field(description="The role itself; not part of OpenAI's shape")]
    added_at: int
    created: int
    is_default: bool = False
    is_service_account: bool = False
    user: UserDetails

    @classmethod
    def of(cls, member: Member) -> "OrganizationUser":
        """The view of a member."""
        membership, user = member
        return cls(
            id=user.id,
            name=user.name,
            email=user.email,
            role=openai_role(membership.role),
            metergate_role=membership.role,
            added_at=membership.added_us // US_PER_SECOND,
            created=user.created_us // US_PER_SECOND,
            user=UserDetails(
                id=user.id, email=user.email, name=user.name, enabled=user.state is UserState.ACTIVE
            ),
        )


class UserPage(BaseModel):
    """OpenAI's list: a page, and whether more follows `last_id`."""

    object: Literal["list"] = "list"
    data: list[OrganizationUser]
    first_id: str | None
    last_id: str | None
    has_more: bool


class UserChange(BaseModel):
    """What a member may be told later: another role, by its name or its id. What OpenAI takes beside that and
    we have not is refused, unless it is null.
    """

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"role": "reader"}})

    role: Annotated[MemberRole | None, Field(examples=["reader"])] = None
    role_id: Annotated[str | None, Field(examples=["role-admin"])] = None
    technical_level: str | None = None
    developer_persona: str | None = None

    def wanted(self) -> Role | None:
        """The role; None where nothing is to change. Raises Refused."""
        if self.technical_level is not None or self.developer_persona is not None:
            raise Refused("technical_level and developer_persona are OpenAI's own: we keep neither")
        by_id = None if self.role_id is None else parse_role_id(self.role_id)
        by_name = None if self.role is None else Role(self.role)
        if by_id is not None and by_name is not None and by_id is not by_name:
            raise Refused("role and role_id name two different roles")
        return by_id or by_name


class UserDeleted(BaseModel):
    """OpenAI's confirmation."""

    object: Literal["organization.user.deleted"] = "organization.user.deleted"
    id: str
    deleted: bool = True


def parse_role_id(text: str) -> Role:
    """The role of an id such as `role-admin`. Raises Refused."""
    for role in Role:
        if role is not Role.OPERATOR and text == ROLE_PREFIX + role:
            return role
    raise Refused(f"there is no role with the id {text[:64]!r}: list them at /v1/organization/roles")


def edges(ids: list[str]) -> dict[str, Any]:
    """The two ends of a page."""
    return {"first_id": ids[0] if ids else None, "last_id": ids[-1] if ids else None}


@router.get("/users")
async def list_users(
    plane: Here,
    actor: Reading,
    *,
    organization: Organization = None,
    limit: Limit = 20,
    after: After = None,
    emails: Annotated[list[str] | None, Query(max_length=100, description="Of these addresses alone")] = None,
    emails_in_brackets: Annotated[
        list[str] | None,
        Query(alias="emails[]", max_length=100, description="The same, as OpenAI's SDK writes it"),
    ] = None,
) -> UserPage:
    """List the organization's users, in the order they joined."""
    wanted = [*(emails or ()), *(emails_in_brackets or ())] or None
    async with plane.database.read() as session:
        tenant_id = await organization_of(session, actor, organization)
        page = await memberships.list_members(session, tenant_id, limit=limit, after=after, emails=wanted)
    data = [OrganizationUser.of(member) for member in page.rows]
    return UserPage(data=data, has_more=page.has_more, **edges([user.id for user in data]))


@router.get("/users/{user_id}")
async def get_user(
    plane: Here, actor: Reading, user_id: str, organization: Organization = None
) -> OrganizationUser:
    """Show a user of the organization."""
    async with plane.database.read() as session:
        tenant_id = await organization_of(session, actor, organization)
        return OrganizationUser.of(await memberships.get_member(session, tenant_id, user_id))


@router.post("/users/{user_id}")
async def update_user(
    plane: Here, actor: Writing, user_id: str, body: UserChange, organization: Organization = None
) -> OrganizationUser:
    """Give a user another role in the organization."""
    role = body.wanted()
    async with plane.database.write() as session:
        tenant_id = await organization_of(session, actor, organization)
        if role is None:
            return OrganizationUser.of(await memberships.get_member(session, tenant_id, user_id))
        return OrganizationUser.of(
            await memberships.set_role(session, tenant_id, user_id, role, plane.now_us(), by=actor)
        )


@router.delete("/users/{user_id}")
async def delete_user(
    plane: Here, actor: Writing, user_id: str, organization: Organization = None
) -> UserDeleted:
    """Take a user out of the organization and its projects."""
    async with plane.database.write() as session:
        tenant_id = await organization_of(session, actor, organization)
        await memberships.leave(session, tenant_id, user_id, plane.now_us(), by=actor)
    return UserDeleted(id=user_id)
