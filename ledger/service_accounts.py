"""Service accounts of projects: making them, with keys or without, and ending them with all their keys.

As in ledger/tenancy.py, each change is in the caller's transaction and tells the workers. A role says whether
an account is a part of its project; a key is of the data plane whichever it is. Invariant: an account whose
role is `none` has no keys that work, since it gets none.
"""

from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col, select

from ledger import audit, tenancy
from ledger.actors import PROGRAM, Actor
from ledger.audit import Facts, Subject
from ledger.audit_events import Event
from ledger.audit_facts import facts_of
from ledger.errors import NotFound, Refused
from ledger.ids import new_id
from ledger.key_owners import KeyOwner
from ledger.names import checked_name
from ledger.object_pages import ObjectPage, PageWish, read_page
from ledger.permissions import KeyScopes
from ledger.states import KeyState, ProjectState, ServiceAccountRole
from ledger.tables.service_accounts import ServiceAccount
from ledger.tables.tenancy import ApiKey

KEY_NAME = "Secret Key"
"""Of a key that is told no name: OpenAI's."""


@dataclass(frozen=True, slots=True)
class NewAccount:
    """An account just made, and its key with the secret, which is shown once; None where it has no key."""

    account: ServiceAccount
    key: tuple[ApiKey, str] | None


async def create(
    session: AsyncSession,
    pepper: bytes,
    project_id: str,
    name: str,
    now_us: int,
    *,
    with_key: bool,
    by: Actor = PROGRAM,
) -> NewAccount:
    """A new account: a member with a key, or one without a role, a key and access.

    Raises NotFound for the project, Refused for the name and for an archived project.
    """
    project = await tenancy.get_project(session, project_id)
    if project.state == ProjectState.ARCHIVED:
        raise Refused(f"project {project_id} is archived: it takes no new service accounts")
    account = ServiceAccount(
        id=new_id("svc_acct_"),
        tenant_id=project.tenant_id,
        project_id=project.id,
        name=checked_name(name),
        role=ServiceAccountRole.MEMBER if with_key else ServiceAccountRole.NONE,
        created_us=now_us,
    )
    session.add(account)
    await _record(session, by, Event.SERVICE_ACCOUNT_CREATED, account, None, now_us)
    key = await create_key(session, pepper, account, KEY_NAME, now_us, by=by) if with_key else None
    return NewAccount(account, key)


async def create_key(
    session: AsyncSession,
    pepper: bytes,
    account: ServiceAccount,
    name: str,
    now_us: int,
    *,
    scopes: KeyScopes | None = None,
    by: Actor = PROGRAM,
) -> tuple[ApiKey, str]:
    """A further key of an account that is there to change, and its secret, shown once. Raises Refused for an
    account without a role.
    """
    if account.role == ServiceAccountRole.NONE:
        raise Refused(f"service account {account.id} has no role in the project: give it one first")
    return await tenancy.create_api_key(
        session,
        pepper,
        account.project_id,
        name,
        now_us,
        scopes=scopes,
        owner=KeyOwner(service_account_id=account.id),
        by=by,
    )


async def read(session: AsyncSession, project_id: str, wish: PageWish) -> ObjectPage[ServiceAccount]:
    """A page of a project's accounts, the oldest first."""
    in_project = [col(ServiceAccount.project_id) == project_id]
    return await read_page(
        session, ServiceAccount, wish, in_project, [col(ServiceAccount.deleted_us).is_(None)]
    )


async def get(
    session: AsyncSession, project_id: str, account_id: str, *, to_change: bool = False
) -> ServiceAccount:
    """`to_change`: nobody else may change it, or make it a key, until the transaction ends. Raises NotFound,
    for another project's too.
    """
    account = await session.get(ServiceAccount, account_id, with_for_update=to_change or None)
    if account is None or account.project_id != project_id or account.deleted_us is not None:
        raise NotFound("service account", account_id)
    return account


async def change(
    session: AsyncSession,
    account: ServiceAccount,
    now_us: int,
    *,
    name: str | None = None,
    role: ServiceAccountRole | None = None,
    by: Actor = PROGRAM,
) -> ServiceAccount:
    """Another name or role; None leaves it. Raises Refused for the name."""
    before = facts_of(account)
    if name is not None:
        account.name = checked_name(name)
    if role is not None:
        assert role != ServiceAccountRole.NONE, "its keys would go on working"
        account.role = role
    if facts_of(account) != before:
        await _record(session, by, Event.SERVICE_ACCOUNT_UPDATED, account, before, now_us)
    return account


async def delete(
    session: AsyncSession, account: ServiceAccount, now_us: int, *, by: Actor = PROGRAM
) -> list[ApiKey]:
    """Ends an account that is there to change and every key of it, for good and within a second on every
    worker; those keys.
    """
    owned = select(ApiKey).where(
        col(ApiKey.service_account_id) == account.id, col(ApiKey.state) != KeyState.REVOKED
    )
    ended = list((await session.execute(owned.order_by(col(ApiKey.id)))).scalars())
    for key in ended:
        await tenancy.revoke_api_key(session, key.id, now_us, by=by)
    account.deleted_us = now_us
    await audit.record(
        session, by, Event.SERVICE_ACCOUNT_DELETED, _subject(account), facts_of(account), None, now_us
    )
    return ended


async def _record(
    session: AsyncSession, by: Actor, event: Event, account: ServiceAccount, before: Facts | None, now_us: int
) -> None:
    await audit.record(session, by, event, _subject(account), before, facts_of(account), now_us)


def _subject(account: ServiceAccount) -> Subject:
    return Subject(account.id, account.tenant_id, account.project_id)
