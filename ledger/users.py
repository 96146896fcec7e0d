"""Users: making them, finding them, their passwords and their states.

An e-mail address is one user's, whatever its case. What a user may do is not here: ledger/memberships.py.
The caller owns the transaction and the clock, has hashed the password before (ledger/passwords.py), and says
in whose name it changes something: `by`.
"""

from dataclasses import replace
from typing import Final

from sqlalchemy import delete, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from ledger import audit, key_access, sessions
from ledger.actors import Actor, ActorKind
from ledger.audit import Subject
from ledger.audit_events import Event
from ledger.audit_facts import facts_of
from ledger.emails import parse_email
from ledger.errors import AlreadyExists, NotFound, WrongCredentials
from ledger.ids import new_id
from ledger.names import checked_name
from ledger.places import Cut, Order, Page
from ledger.roles import Role
from ledger.states import UserState
from ledger.tables.people import Membership, PasswordReset, User

_OLDEST_FIRST: Final[Order[User]] = Order(
    (col(User.created_us), col(User.id)), (int, str), lambda user: (user.created_us, user.id)
)


async def create_user(
    session: AsyncSession,
    email: str,
    name: str,
    now_us: int,
    *,
    by: Actor,
    credential_hash: str | None = None,
    is_operator: bool = False,
) -> User:
    """A new active user, a member of nothing yet. Raises AlreadyExists, and Refused for address or name."""
    address = parse_email(email)
    if await find_user(session, address) is not None:
        raise AlreadyExists(f"there is a user with the e-mail address {address} already")
    user = User(
        id=new_id("user-"),
        email=address,
        name=checked_name(name),
        state=UserState.ACTIVE,
        is_operator=is_operator,
        credential_hash=credential_hash,
        created_us=now_us,
    )
    session.add(user)
    try:
        await session.flush()
    except IntegrityError:  # another transaction was quicker
        raise AlreadyExists(f"there is a user with the e-mail address {address} already") from None
    await audit.record(session, by, Event.USER_ADDED, Subject(user.id), None, facts_of(user), now_us)
    return user


async def find_user(session: AsyncSession, email: str) -> User | None:
    """The user with this e-mail address, in its one form."""
    return (await session.execute(select(User).where(col(User.email) == email))).scalar_one_or_none()


async def get_user(session: AsyncSession, user_id: str) -> User:
    """Raises NotFound."""
    user = await session.get(User, user_id)
    if user is None:
        raise NotFound("user", user_id)
    return user


async def page_users(
    session: AsyncSession, cut: Cut, *, tenant_id: str | None = None, email: str | None = None
) -> Page[User]:
    """A page of the users, of a tenant's members or of who has this e-mail address, the oldest first. Raises
    Refused.
    """
    query = select(User)
    if tenant_id is not None:
        members = select(col(Membership.user_id)).where(col(Membership.tenant_id) == tenant_id)
        query = query.where(col(User.id).in_(members))
    if email is not None:
        query = query.where(col(User.email) == email.strip().lower())
    return await _OLDEST_FIRST.page(session, query, cut)


async def set_state(session: AsyncSession, user_id: str, state: UserState, now_us: int, *, by: Actor) -> User:
    """Disable a user, who is logged out everywhere at once and whose keys stop working, or let them and their
    keys in again. Raises NotFound.
    """
    user = await get_user(session, user_id)
    if user.state == state:
        return user
    before = facts_of(user)
    user.state = state
    if state is UserState.DISABLED:
        await sessions.end_all(session, user.id)
        await void_resets(session, user.id)
    await key_access.tell(session, user.id, now_us)
    await record_for_tenants(session, by, Event.USER_UPDATED, user, before, facts_of(user), now_us)
    return user


async def set_credential(
    session: AsyncSession,
    user: User,
    credential_hash: str,
    now_us: int,
    *,
    by: Actor,
    keep_session: str | None = None,
) -> int:
    """Give a user another password: all their sessions end, but for the one that is kept, and resets that
    wait are void. How many sessions ended.
    """
    user.credential_hash = credential_hash
    ended = await sessions.end_all(session, user.id, but=keep_session)
    await void_resets(session, user.id)
    await record_for_tenants(
        session, by, Event.PASSWORD_CHANGED, user, None, {"sessions_ended": ended}, now_us
    )
    return ended


async def hold(session: AsyncSession, user_id: str, credential_hash: str | None) -> User:
    """The user, locked until the commit, whose password was verified against this hash. Raises
    WrongCredentials where it has changed since, or the user was disabled.
    """
    query = select(User).where(col(User.id) == user_id).with_for_update()
    user = (await session.execute(query.execution_options(populate_existing=True))).scalar_one_or_none()
    if user is None or user.state != UserState.ACTIVE or user.credential_hash != credential_hash:
        raise WrongCredentials
    return user


async def void_resets(session: AsyncSession, user_id: str) -> None:
    """Password resets that wait for this user work no more."""
    waiting = delete(PasswordReset).where(
        col(PasswordReset.user_id) == user_id, col(PasswordReset.used_us).is_(None)
    )
    await session.execute(waiting)


async def record_for_tenants(
    session: AsyncSession,
    by: Actor,
    event: Event,
    user: User,
    before: audit.Facts | None,
    after: audit.Facts | None,
    now_us: int,
) -> None:
    """One event for each tenant that the user is a member of, since each may read of its own members; for
    the operator alone where there is none.
    """
    query = (
        select(col(Membership.tenant_id), col(Membership.role))
        .where(col(Membership.user_id) == user.id)
        .order_by(col(Membership.tenant_id))
    )
    is_own = by.kind is ActorKind.USER and by.id == user.id
    found = list(await session.execute(query))
    for tenant_id, role in found:
        actor = replace(by, role=role, tenant_id=tenant_id) if is_own and by.role is not Role.OPERATOR else by
        await audit.record(session, actor, event, Subject(user.id, tenant_id), before, after, now_us)
    if not found:
        await audit.record(session, by, event, Subject(user.id), before, after, now_us)


async def count_owners(session: AsyncSession, tenant_id: str) -> int:
    """How many active users own a tenant."""
    query = (
        select(func.count())
        .select_from(Membership)
        .join(User, col(User.id) == col(Membership.user_id))
        .where(
            col(Membership.tenant_id) == tenant_id,
            col(Membership.role) == Role.OWNER,
            col(User.state) == UserState.ACTIVE,
        )
    )
    return int((await session.execute(query)).scalar_one())
