"""Tenants, projects and keys: making them, finding them, and changing their state.

Each change appends to the change log and to the audit log in the same transaction, so that no worker can miss
it and nobody can deny it. The caller owns the transaction (`async with db.write() as session`) and the clock,
and says in whose name it changes something: `by`.
"""

from typing import TypeVar

from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col, select

from ledger import audit, changes, key_owners, keys, secret_check
from ledger.actors import PROGRAM, Actor
from ledger.audit import Facts, Subject
from ledger.audit_events import Event
from ledger.audit_facts import facts_of
from ledger.errors import NotFound, Refused
from ledger.ids import new_id
from ledger.key_owners import KeyOwner
from ledger.names import checked_name
from ledger.networks import Networks
from ledger.permissions import KeyScopes, ModelPermissions
from ledger.places import Cut, Order, Page
from ledger.states import KeyState, OutagePolicy, ProjectState, TenantState
from ledger.tables.tenancy import ApiKey, Project, Tenant
from ledger.tags import Tags

T = TypeVar("T", Tenant, Project, ApiKey)


async def create_tenant(
    session: AsyncSession,
    name: str,
    now_us: int,
    *,
    outage_policy: OutagePolicy = OutagePolicy.FAIL_CLOSED,
    by: Actor = PROGRAM,
) -> Tenant:
    """A new active tenant. Raises Refused for an empty or overlong name."""
    tenant = Tenant(
        id=new_id("org-"),
        name=checked_name(name),
        state=TenantState.ACTIVE,
        created_us=now_us,
        outage_policy=outage_policy,
    )
    session.add(tenant)
    await changes.append(session, "tenant.created", tenant.id, now_us)
    await _record(session, by, Event.ORGANIZATION_CREATED, tenant, None, now_us)
    return tenant


async def list_tenants(session: AsyncSession) -> list[Tenant]:
    """Every tenant, the oldest first."""
    query = select(Tenant).order_by(col(Tenant.created_us), col(Tenant.id))
    return list((await session.execute(query)).scalars())


async def page_tenants(session: AsyncSession, cut: Cut, tenant_id: str | None = None) -> Page[Tenant]:
    """A page of the tenants, or of that one alone, the oldest first. Raises Refused."""
    query = select(Tenant)
    if tenant_id is not None:
        query = query.where(col(Tenant.id) == tenant_id)
    return await _oldest_first(Tenant).page(session, query, cut)


async def get_tenant(session: AsyncSession, tenant_id: str) -> Tenant:
    """Raises NotFound."""
    tenant = await session.get(Tenant, tenant_id)
    if tenant is None:
        raise NotFound("tenant", tenant_id)
    return tenant


async def set_tenant_state(
    session: AsyncSession, tenant_id: str, state: TenantState, now_us: int, *, by: Actor = PROGRAM
) -> Tenant:
    """Block a tenant, or let it in again. Raises NotFound."""
    tenant = await get_tenant(session, tenant_id)
    if tenant.state != state:
        before = facts_of(tenant)
        tenant.state = state
        await changes.append(session, f"tenant.{state}", tenant.id, now_us)
        await _record(session, by, Event.ORGANIZATION_UPDATED, tenant, before, now_us)
    return tenant


async def set_outage_policy(
    session: AsyncSession, tenant_id: str, policy: OutagePolicy, now_us: int, *, by: Actor = PROGRAM
) -> Tenant:
    """Say what becomes of a tenant's calls while the ledger is away. Raises NotFound."""
    tenant = await get_tenant(session, tenant_id)
    if tenant.outage_policy != policy:
        before = facts_of(tenant)
        tenant.outage_policy = policy
        await changes.append(session, "tenant.outage_policy_changed", tenant.id, now_us)
        await _record(session, by, Event.ORGANIZATION_UPDATED, tenant, before, now_us)
    return tenant


async def rename_tenant(
    session: AsyncSession, tenant_id: str, name: str, now_us: int, *, by: Actor = PROGRAM
) -> Tenant:
    """Give a tenant another name. Raises NotFound, and Refused for the name."""
    tenant, name = await get_tenant(session, tenant_id), checked_name(name)
    if tenant.name != name:
        before = facts_of(tenant)
        tenant.name = name
        await changes.append(session, "tenant.renamed", tenant.id, now_us)
        await _record(session, by, Event.ORGANIZATION_UPDATED, tenant, before, now_us)
    return tenant


async def create_project(
    session: AsyncSession,
    tenant_id: str,
    name: str,
    now_us: int,
    *,
    model_permissions: ModelPermissions | None = None,
    by: Actor = PROGRAM,
) -> Project:
    """A new active project of a tenant; its keys may call what `model_permissions` let through, None being
    every model. Raises NotFound for the tenant, Refused for the name.
    """
    tenant = await get_tenant(session, tenant_id)
    project = Project(
        id=new_id("proj_"),
        tenant_id=tenant.id,
        name=checked_name(name),
        state=ProjectState.ACTIVE,
        created_us=now_us,
        model_permissions=model_permissions,
    )
    session.add(project)
    await changes.append(session, "project.created", project.id, now_us)
    await _record(session, by, Event.PROJECT_CREATED, project, None, now_us)
    return project


async def page_projects(
    session: AsyncSession, cut: Cut, *, tenant_id: str | None = None, project_id: str | None = None
) -> Page[Project]:
    """A page of the projects, of a tenant's, or of that one alone, the oldest first. Raises Refused."""
    query = select(Project)
    if tenant_id is not None:
        query = query.where(col(Project.tenant_id) == tenant_id)
    if project_id is not None:
        query = query.where(col(Project.id) == project_id)
    return await _oldest_first(Project).page(session, query, cut)


async def get_project(session: AsyncSession, project_id: str) -> Project:
    """Raises NotFound."""
    project = await session.get(Project, project_id)
    if project is None:
        raise NotFound("project", project_id)
    return project


async def set_project_state(
    session: AsyncSession, project_id: str, state: ProjectState, now_us: int, *, by: Actor = PROGRAM
) -> Project:
    """Block, archive or open a project. Raises NotFound; Refused for an archived one, which stays
    archived.
    """
    project = await get_project(session, project_id)
    if project.state == state:
        return project
    if project.state == ProjectState.ARCHIVED:
        raise Refused(f"project {project_id} is archived, and stays archived")
    before = facts_of(project)
    project.state = state
    if state == ProjectState.ARCHIVED:
        project.archived_us = now_us
    await changes.append(session, f"project.{state}", project.id, now_us)
    event = Event.PROJECT_ARCHIVED if state == ProjectState.ARCHIVED else Event.PROJECT_UPDATED
    await _record(session, by, event, project, before, now_us)
    return project


async def rename_project(
    session: AsyncSession, project_id: str, name: str, now_us: int, *, by: Actor = PROGRAM
) -> Project:
    """Call a project otherwise. Raises NotFound; Refused for the name, and for an archived project."""
    project = await get_project(session, project_id)
    if project.state == ProjectState.ARCHIVED:
        raise Refused(f"project {project_id} is archived, and stays as it is")
    await _restrict(session, project, "name", checked_name(name), "project.renamed", now_us, by)
    return project


async def set_project_models(
    session: AsyncSession,
    project_id: str,
    permissions: ModelPermissions | None,
    now_us: int,
    *,
    by: Actor = PROGRAM,
) -> Project:
    """Say which models the keys of a project may call; None is every model. Raises NotFound."""
    project = await get_project(session, project_id)
    await _restrict(session, project, "model_permissions", permissions, "project.models_changed", now_us, by)
    return project


async def create_api_key(
    session: AsyncSession,
    pepper: bytes,
    project_id: str,
    name: str,
    now_us: int,
    expires_us: int | None = None,
    *,
    model_permissions: ModelPermissions | None = None,
    scopes: KeyScopes | None = None,
    networks: Networks | None = None,
    tags: Tags | None = None,
    by: Actor = PROGRAM,
    owner: KeyOwner | None = None,
) -> tuple[ApiKey, str]:
    """A new key and its secret, which is shown once and kept nowhere.

    `model_permissions`, `scopes`, `networks`: which models and endpoints it may call, and from where; None is
    all. `tags` are for people. `owner`: whose it is; None is the project's own service account. What changes
    later is ledger/key_settings.py's and ledger/key_secrets.py's. Raises NotFound for the project, Refused
    for the name, for an archived project, and for a key born expired; SecretChanged for another pepper than
    the first key's.
    """
    await secret_check.hold_to(await session.connection(), pepper, now_us)
    project = await get_project(session, project_id)
    if project.state == ProjectState.ARCHIVED:
        raise Refused(f"project {project_id} is archived: it takes no new keys")
    if expires_us is not None and expires_us <= now_us:
        raise Refused("the key would be expired from the start")
    name = checked_name(name)
    owner = owner or await key_owners.own_account(session, project, now_us)
    secret = keys.mint(keys.API_PREFIX)
    key = ApiKey(
        id=new_id("key_"),
        project_id=project.id,
        tenant_id=project.tenant_id,
        name=name,
        digest=keys.digest(pepper, secret),
        redacted=keys.redact(secret),
        state=KeyState.ACTIVE,
        expires_us=expires_us,
        created_us=now_us,
        model_permissions=model_permissions,
        scopes=scopes,
        networks=networks,
        tags=tags,
        service_account_id=owner.service_account_id,
        user_id=owner.user_id,
    )
    session.add(key)
    await changes.append(session, "key.created", key.id, now_us)
    await _record(session, by, Event.API_KEY_CREATED, key, None, now_us)
    return key, secret


async def page_api_keys(
    session: AsyncSession, cut: Cut, *, project_id: str | None = None, tenant_id: str | None = None
) -> Page[ApiKey]:
    """A page of the keys, or of a project's or tenant's, the oldest first. Raises Refused."""
    query = select(ApiKey)
    if project_id is not None:
        query = query.where(col(ApiKey.project_id) == project_id)
    if tenant_id is not None:
        query = query.where(col(ApiKey.tenant_id) == tenant_id)
    return await _oldest_first(ApiKey).page(session, query, cut)


async def get_api_key(session: AsyncSession, key_id: str) -> ApiKey:
    """Raises NotFound."""
    key = await session.get(ApiKey, key_id)
    if key is None:
        raise NotFound("key", key_id)
    return key


async def revoke_api_key(session: AsyncSession, key_id: str, now_us: int, *, by: Actor = PROGRAM) -> ApiKey:
    """The key stops working for good, within a second on every worker. Raises NotFound."""
    return await _set_key_state(session, await get_api_key(session, key_id), KeyState.REVOKED, now_us, by)


async def block_api_key(session: AsyncSession, key_id: str, now_us: int, *, by: Actor = PROGRAM) -> ApiKey:
    """The key stops working until it is unblocked. Raises NotFound; Refused for a revoked key."""
    return await _set_key_state(session, await get_api_key(session, key_id), KeyState.BLOCKED, now_us, by)


async def unblock_api_key(session: AsyncSession, key_id: str, now_us: int, *, by: Actor = PROGRAM) -> ApiKey:
    """A blocked key works again. Raises NotFound; Refused for a revoked key."""
    return await _set_key_state(session, await get_api_key(session, key_id), KeyState.ACTIVE, now_us, by)


async def _restrict(
    session: AsyncSession, row: Project, column: str, value: object, kind: str, now_us: int, by: Actor
) -> None:
    """Sets what a project is told; `kind` is told to the workers where that is a change."""
    if getattr(row, column) != value:
        before = facts_of(row)
        setattr(row, column, value)
        await changes.append(session, kind, row.id, now_us)
        await _record(session, by, Event.PROJECT_UPDATED, row, before, now_us)


async def _set_key_state(
    session: AsyncSession, key: ApiKey, state: KeyState, now_us: int, by: Actor
) -> ApiKey:
    if key.state == state:
        return key
    if key.state == KeyState.REVOKED:
        raise Refused(f"key {key.id} is revoked, and stays revoked")
    before = facts_of(key)
    key.state = state
    await changes.append(session, f"key.{state}", key.id, now_us)
    event = Event.API_KEY_DELETED if state == KeyState.REVOKED else Event.API_KEY_UPDATED
    await _record(session, by, event, key, before, now_us)
    return key


async def _record(
    session: AsyncSession,
    by: Actor,
    event: Event,
    row: Tenant | Project | ApiKey,
    before: Facts | None,
    now_us: int,
) -> None:
    match row:
        case Tenant():
            subject = Subject(row.id, row.id)
        case Project():
            subject = Subject(row.id, row.tenant_id, row.id)
        case ApiKey():
            subject = Subject(row.id, row.tenant_id, row.project_id)
    await audit.record(session, by, event, subject, before, facts_of(row), now_us)


def _oldest_first(table: type[T]) -> Order[T]:
    return Order((col(table.created_us), col(table.id)), (int, str), lambda row: (row.created_us, row.id))
