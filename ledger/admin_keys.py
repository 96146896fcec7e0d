"""Admin keys: the keys of the control plane, with their roles and how far they reach.

An admin key is the operator's, or it is of one tenant, and then of the whole tenant or of one project of it.
The caller owns the transaction and the clock, and says in whose name it changes something: `by`.

Nobody gives what they have not: a role that allows more than one's own, another tenant, more than one's
project. Nobody takes a key from somebody mightier. And nobody locks everybody out: the last key of the
operator's that works stays, and a tenant's own actors keep the tenant's last owner key. Keys that come to
their end are not counted on.
"""

from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col, or_, select, update

from ledger import audit, changes, keys, secret_check, tenancy
from ledger.actors import PROGRAM, Actor
from ledger.audit import Facts, Subject
from ledger.audit_events import Event
from ledger.audit_facts import facts_of
from ledger.errors import Denied, NotFound, Refused
from ledger.ids import new_id
from ledger.names import checked_name
from ledger.places import Cut, Order, Page
from ledger.roles import Permission, Role
from ledger.states import KeyState
from ledger.tables.tenancy import AdminKey


async def create_admin_key(
    session: AsyncSession,
    pepper: bytes,
    name: str,
    now_us: int,
    *,
    role: Role = Role.OPERATOR,
    tenant_id: str | None = None,
    project_id: str | None = None,
    expires_us: int | None = None,
    by: Actor = PROGRAM,
) -> tuple[AdminKey, str]:
    """A new key of the control plane and its secret, shown once. A tenant is given with every role but the
    operator's; a project alone brings its tenant.

    Raises NotFound for a tenant or project that `by` does not see, Denied for a role or a reach beyond its
    own, Refused for what does not go together and for the name, SecretChanged for another pepper than the
    first key's.
    """
    await secret_check.hold_to(await session.connection(), pepper, now_us)
    tenant_id, project_id = await _reach(session, role, tenant_id, project_id, by)
    if not by.may_give(role):
        raise Denied(Permission.ADMIN_KEYS_WRITE, f"for the role {role}, which allows more than {by.role}")
    if expires_us is not None and expires_us <= now_us:
        raise Refused("the key would be expired from the start")
    secret = keys.mint(keys.ADMIN_PREFIX)
    key = AdminKey(
        id=new_id("adminkey_"),
        name=checked_name(name),
        digest=keys.digest(pepper, secret),
        redacted=keys.redact(secret),
        state=KeyState.ACTIVE,
        created_us=now_us,
        expires_us=expires_us,
        role=role,
        tenant_id=tenant_id,
        project_id=project_id,
    )
    session.add(key)
    await changes.append(session, "admin_key.created", key.id, now_us)
    await _record(session, by, Event.ADMIN_KEY_CREATED, key, None, now_us)
    return key, secret


async def page_admin_keys(session: AsyncSession, cut: Cut, by: Actor = PROGRAM) -> Page[AdminKey]:
    """A page of the admin keys that `by` sees, the oldest first. Raises Refused."""
    query = select(AdminKey)
    if by.tenant_id is not None:
        query = query.where(col(AdminKey.tenant_id) == by.tenant_id)
    if by.project_id is not None:
        query = query.where(col(AdminKey.project_id) == by.project_id)
    order: Order[AdminKey] = Order(
        (col(AdminKey.created_us), col(AdminKey.id)), (int, str), lambda key: (key.created_us, key.id)
    )
    return await order.page(session, query, cut)


async def get_admin_key(session: AsyncSession, key_id: str, by: Actor = PROGRAM) -> AdminKey:
    """Raises NotFound, for one that `by` does not see too."""
    key = await session.get(AdminKey, key_id)
    if key is None or not by.sees(key.tenant_id, key.project_id):
        raise NotFound("admin key", key_id)
    return key


async def find_admin_key(session: AsyncSession, digest: bytes, now_us: int) -> AdminKey | None:
    """The active, unexpired admin key with this digest, or None."""
    key = (await session.execute(select(AdminKey).where(col(AdminKey.digest) == digest))).scalar_one_or_none()
    return key if key is not None and _works(key, now_us) else None


async def note_use(session: AsyncSession, key_id: str, now_us: int) -> None:
    """The key was used at `now_us`, if not later."""
    used = update(AdminKey).where(
        col(AdminKey.id) == key_id,
        or_(col(AdminKey.last_used_us).is_(None), col(AdminKey.last_used_us) < now_us),
    )
    await session.execute(used.values(last_used_us=now_us))


async def revoke_admin_key(
    session: AsyncSession, key_id: str, now_us: int, *, by: Actor = PROGRAM
) -> AdminKey:
    """The admin key stops working for good. Raises NotFound; Denied for one that is mightier than `by`;
    Refused for the last one that lets anybody in.
    """
    await changes.lock(session)  # two that revoke each other's key must not both find the other there
    key = await get_admin_key(session, key_id, by)
    if key.state == KeyState.REVOKED:
        return key
    if not by.may_give(key.role):
        raise Denied(Permission.ADMIN_KEYS_WRITE, f"on a key of the role {key.role}")
    if _works(key, now_us):
        await _refuse_lock_out(session, key, by)
    before = facts_of(key)
    key.state = KeyState.REVOKED
    await changes.append(session, "admin_key.revoked", key.id, now_us)
    await _record(session, by, Event.ADMIN_KEY_DELETED, key, before, now_us)
    return key


async def _reach(
    session: AsyncSession, role: Role, tenant_id: str | None, project_id: str | None, by: Actor
) -> tuple[str | None, str | None]:
    """The tenant and the project of a new key: `by`'s own, unless it says less."""
    project_id = project_id or by.project_id
    if project_id is not None:
        project = await tenancy.get_project(session, project_id)
        if not by.sees(project.tenant_id, project.id):
            raise NotFound("project", project_id)
        if tenant_id not in (None, project.tenant_id):
            raise Refused(f"project {project_id} is of another tenant")
        tenant_id = project.tenant_id
    tenant_id = tenant_id or by.tenant_id
    if tenant_id is not None:
        if not by.sees(tenant_id, project_id):
            raise NotFound("tenant", tenant_id)
        await tenancy.get_tenant(session, tenant_id)
    if role is Role.OPERATOR and by.tenant_id is None and tenant_id is not None:
        raise Refused("the operator's keys are of no tenant: choose owner, admin, billing or reader")
    if role is not Role.OPERATOR and tenant_id is None:
        raise Refused(f"a key of the role {role} is of a tenant: say of which")
    return tenant_id, project_id


async def _refuse_lock_out(session: AsyncSession, key: AdminKey, by: Actor) -> None:
    if key.role is Role.OPERATOR:
        whose = "operator's last key"
    elif key.role is Role.OWNER and key.project_id is None and by.tenant_id is not None:
        whose = "tenant's last owner key"
    else:
        return
    if not await _has_others(session, key):
        raise Refused(f"this is the {whose} that does not expire: make another one first")


async def _has_others(session: AsyncSession, key: AdminKey) -> bool:
    """Whether other keys of the same role and reach work, and do not end by themselves."""
    query = select(AdminKey.id).where(
        col(AdminKey.id) != key.id,
        col(AdminKey.role) == key.role,
        col(AdminKey.tenant_id).is_not_distinct_from(key.tenant_id),
        col(AdminKey.project_id).is_(None),
        col(AdminKey.state) == KeyState.ACTIVE,
        col(AdminKey.expires_us).is_(None),
    )
    return (await session.execute(query.limit(1))).first() is not None


async def _record(
    session: AsyncSession, by: Actor, event: Event, key: AdminKey, before: Facts | None, now_us: int
) -> None:
    subject = Subject(key.id, key.tenant_id, key.project_id)
    await audit.record(session, by, event, subject, before, facts_of(key), now_us)


def _works(key: AdminKey, now_us: int) -> bool:
    return key.state == KeyState.ACTIVE and (key.expires_us is None or key.expires_us > now_us)
