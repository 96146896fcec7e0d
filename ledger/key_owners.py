"""Whose an API key is: a service account's of its project, or a user's.

A user's keys work as long as their user has a part in the project (ledger/key_access.py); what has to outlive
people belongs to a service account. Every project has one of its own, made when it is first needed, for keys
that are made without a word of their owner. Its id is the project's with another prefix, so that two who need
it at once make one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Boolean, ColumnElement, and_, literal_column, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from ledger.actors import Actor, ActorKind
from ledger.errors import NotFound, Refused
from ledger.given import Statement
from ledger.key_access import HAS_ACCESS
from ledger.project_roles import ProjectRole
from ledger.roles import Role
from ledger.states import ServiceAccountRole
from ledger.tables.people import Membership, ProjectMembership, User
from ledger.tables.service_accounts import ServiceAccount
from ledger.tables.tenancy import ApiKey, Project

OWN_ACCOUNT_NAME: Final = "Keys of the project"
NO_PART: Final = "none"
"""In place of the role of who is in a project no more."""
_ACCOUNTS: Final = "svc_acct_"
_USERS: Final = "user-"

_MAKE: Final = Statement(
    "INSERT INTO service_account (id, tenant_id, project_id, name, role, created_us)"
    " SELECT id, tenant_id, project_id, name, role, created_us FROM {given} WHERE true"
    " ON CONFLICT (id) DO NOTHING",
    {
        "id": "varchar",
        "tenant_id": "varchar",
        "project_id": "varchar",
        "name": "varchar",
        "role": "varchar",
        "created_us": "bigint",
    },
)


@dataclass(frozen=True, slots=True)
class KeyOwner:
    """One of the two."""

    service_account_id: str | None = None
    user_id: str | None = None

    def __post_init__(self) -> None:
        """Exactly one."""
        assert (self.service_account_id is None) != (self.user_id is None), self


def own_account_id(project_id: str) -> str:
    """The id of a project's own service account."""
    return _ACCOUNTS + project_id.removeprefix("proj_")


async def own_account(session: AsyncSession, project: Project, now_us: int) -> KeyOwner:
    """The project's own service account, made if there is none, and there again if it was deleted."""
    account_id = own_account_id(project.id)
    await session.flush()
    account = (account_id, project.tenant_id, project.id, OWN_ACCOUNT_NAME, ServiceAccountRole.MEMBER, now_us)
    await _MAKE.change(await session.connection(), [account])
    # Always, and not only if it was deleted: whoever deletes it now waits for the key, and ends it, too.
    mine = update(ServiceAccount).where(col(ServiceAccount.id) == account_id)
    await session.execute(mine.values(deleted_us=None))
    return KeyOwner(service_account_id=account_id)


async def chosen(session: AsyncSession, project: Project, owner_id: str | None, now_us: int) -> KeyOwner:
    """The owner that somebody names for a key of the project, None: the project's own account. Nobody ends an
    account before the transaction does.

    Raises NotFound for who is not of the tenant or the project, Refused for who has no part in the project.
    """
    if owner_id is None or owner_id == own_account_id(project.id):
        return await own_account(session, project, now_us)
    if owner_id.startswith(_ACCOUNTS):
        account = await session.get(ServiceAccount, owner_id, with_for_update=True)
        if account is None or account.project_id != project.id or account.deleted_us is not None:
            raise NotFound("service account", owner_id)
        if account.role == ServiceAccountRole.NONE:
            raise _refused(f"service account {owner_id} has no role in the project: give it one first")
        return KeyOwner(service_account_id=owner_id)
    if not owner_id.startswith(_USERS):
        raise _refused("an owner is the id of a user (user-...) or of a service account (svc_acct_...)")
    if await session.get(Membership, (owner_id, project.tenant_id)) is None:
        raise NotFound("user", owner_id)
    if not await _has_access(session, owner_id, project):
        raise _refused(f"user {owner_id} is disabled, or not in project {project.id}: add them to it first")
    return KeyOwner(user_id=owner_id)


async def of_maker(session: AsyncSession, project: Project, by: Actor) -> KeyOwner | None:
    """Whose a key is that nobody names an owner for: the user's who makes it. None: no user's, or of one who
    has no part in the project.
    """
    if by.kind is ActorKind.USER and await _has_access(session, by.id, project):
        return KeyOwner(user_id=by.id)
    return None


@dataclass(frozen=True, slots=True)
class Owner:
    """An owner as people see it. `role` is their part in the project. `has_access`: its keys work, as far as
    it depends on it. `email` is a user's.
    """

    id: str
    name: str
    role: str
    created_us: int
    has_access: bool
    email: str | None = None

    @property
    def is_user(self) -> bool:
        """Or a service account."""
        return self.email is not None


async def owners_of(session: AsyncSession, keys: Sequence[ApiKey]) -> dict[str, Owner]:
    """The owners of keys, by the keys' ids; a key from before there were owners may have none."""
    account_ids = {key.service_account_id for key in keys if key.service_account_id is not None}
    query = select(ServiceAccount).where(col(ServiceAccount.id).in_(account_ids))
    accounts = {one.id: _account(one) for one in (await session.execute(query)).scalars()}
    users = await _users_of(session, [key.id for key in keys if key.user_id is not None])
    owners = {key.id: users.get(key.id) or accounts.get(key.service_account_id or "") for key in keys}
    return {key_id: owner for key_id, owner in owners.items() if owner is not None}


async def _users_of(session: AsyncSession, key_ids: Sequence[str]) -> dict[str, Owner]:
    if not key_ids:
        return {}
    has_access: ColumnElement[bool] = literal_column(HAS_ACCESS.format(key="api_key"), Boolean)
    in_tenant = and_(
        col(Membership.user_id) == col(User.id), col(Membership.tenant_id) == col(ApiKey.tenant_id)
    )
    in_project = and_(
        col(ProjectMembership.user_id) == col(User.id),
        col(ProjectMembership.project_id) == col(ApiKey.project_id),
    )
    query = (
        select(col(ApiKey.id), User, col(Membership.role), col(ProjectMembership.role), has_access)
        .join(User, col(User.id) == col(ApiKey.user_id))
        .outerjoin(Membership, in_tenant)
        .outerjoin(ProjectMembership, in_project)
        .where(col(ApiKey.id).in_(key_ids))
    )
    found = {}
    for key_id, user, role, project_role, may_use in await session.execute(query):
        part = project_role or (ProjectRole.OWNER if role in (Role.OWNER, Role.ADMIN) else NO_PART)
        found[key_id] = Owner(user.id, user.name, part, user.created_us, bool(may_use), user.email)
    return found


async def _has_access(session: AsyncSession, user_id: str, project: Project) -> bool:
    names = "CAST(:user AS varchar) AS user_id, CAST(:tenant AS varchar) AS tenant_id"
    given = f"(SELECT {names}, CAST(:project AS varchar) AS project_id) AS given"
    query = text(f"SELECT count(*) FROM {given} WHERE {HAS_ACCESS.format(key='given')}")  # noqa: S608 - ours
    whose = {"user": user_id, "tenant": project.tenant_id, "project": project.id}
    return bool((await session.execute(query, whose)).scalar_one())


def _refused(why: str) -> Refused:
    return Refused(why, param="owner")


def _account(account: ServiceAccount) -> Owner:
    has_access = account.role != ServiceAccountRole.NONE and account.deleted_us is None
    return Owner(account.id, account.name, account.role, account.created_us, has_access)
