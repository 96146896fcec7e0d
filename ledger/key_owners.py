"""Whose an API key is: a service account's of its project, or a user's.

Every project has a service account of its own, made when it is first needed, for keys that are made without a
word of their owner. Its id is the project's with another prefix, so that two who need it at once make one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col, select, update

from ledger.given import Statement
from ledger.states import ServiceAccountRole
from ledger.tables.service_accounts import ServiceAccount
from ledger.tables.tenancy import ApiKey, Project

OWN_ACCOUNT_NAME: Final = "Keys of the project"

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
    return "svc_acct_" + project_id.removeprefix("proj_")


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


@dataclass(frozen=True, slots=True)
class Owner:
    """An owner as people see it. `has_access`: it is a part of the key's project now."""

    id: str
    name: str
    role: str
    created_us: int
    has_access: bool


async def owners_of(session: AsyncSession, keys: Sequence[ApiKey]) -> dict[str, Owner]:
    """The owners of keys, by the keys' ids."""
    ids = {key.service_account_id for key in keys}
    query = select(ServiceAccount).where(col(ServiceAccount.id).in_(ids))
    accounts = {account.id: account for account in (await session.execute(query)).scalars()}
    return {key.id: _owner(accounts[key.service_account_id or ""]) for key in keys}


def _owner(account: ServiceAccount) -> Owner:
    has_access = account.role != ServiceAccountRole.NONE and account.deleted_us is None
    return Owner(account.id, account.name, account.role, account.created_us, has_access)
