"""Tenants, projects and keys: making them, finding them, and changing their state.

Each change appends to the change log in the same transaction, so that no worker can miss it. The caller owns
the transaction (`async with db.write() as session`) and the clock.
"""

from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col, select

from ledger import changes, keys, secret_check
from ledger.errors import NotFound, Refused
from ledger.ids import new_id
from ledger.networks import Networks
from ledger.permissions import KeyScopes, ModelPermissions
from ledger.states import KeyState, OutagePolicy, ProjectState, TenantState
from ledger.tables.tenancy import AdminKey, ApiKey, Project, Tenant

NAME_CHARS_MAX = 200  # a name is shown in lists and exports; OpenAI's own admin API takes 256 at most


async def create_tenant(
    session: AsyncSession,
    name: str,
    now_us: int,
    *,
    outage_policy: OutagePolicy = OutagePolicy.FAIL_CLOSED,
) -> Tenant:
    """A new active tenant. Raises Refused for an empty or overlong name."""
    tenant = Tenant(
        id=new_id("org-"),
        name=_checked_name(name),
        state=TenantState.ACTIVE,
        created_us=now_us,
        outage_policy=outage_policy,
    )
    session.add(tenant)
    await changes.append(session, "tenant.created", tenant.id, now_us)
    return tenant


async def list_tenants(session: AsyncSession) -> list[Tenant]:
    """Every tenant, the oldest first."""
    query = select(Tenant).order_by(col(Tenant.created_us), col(Tenant.id))
    return list((await session.execute(query)).scalars())


async def get_tenant(session: AsyncSession, tenant_id: str) -> Tenant:
    """Raises NotFound."""
    tenant = await session.get(Tenant, tenant_id)
    if tenant is None:
        raise NotFound("tenant", tenant_id)
    return tenant


async def set_tenant_state(session: AsyncSession, tenant_id: str, state: TenantState, now_us: int) -> Tenant:
    """Block a tenant, or let it in again. Raises NotFound."""
    tenant = await get_tenant(session, tenant_id)
    if tenant.state != state:
        tenant.state = state
        await changes.append(session, f"tenant.{state}", tenant.id, now_us)
    return tenant


async def set_outage_policy(
    session: AsyncSession, tenant_id: str, policy: OutagePolicy, now_us: int
) -> Tenant:
    """Say what becomes of a tenant's calls while the ledger is away. Raises NotFound."""
    tenant = await get_tenant(session, tenant_id)
    if tenant.outage_policy != policy:
        tenant.outage_policy = policy
        await changes.append(session, "tenant.outage_policy_changed", tenant.id, now_us)
    return tenant


async def create_project(
    session: AsyncSession,
    tenant_id: str,
    name: str,
    now_us: int,
    *,
    model_permissions: ModelPermissions | None = None,
) -> Project:
    """A new active project of a tenant; its keys may call what `model_permissions` let through, None being
    every model. Raises NotFound for the tenant, Refused for the name.
    """
    tenant = await get_tenant(session, tenant_id)
    project = Project(
        id=new_id("proj_"),
        tenant_id=tenant.id,
        name=_checked_name(name),
        state=ProjectState.ACTIVE,
        created_us=now_us,
        model_permissions=model_permissions,
    )
    session.add(project)
    await changes.append(session, "project.created", project.id, now_us)
    return project


async def list_projects(session: AsyncSession, tenant_id: str | None = None) -> list[Project]:
    """Every project, or every project of a tenant, the oldest first."""
    query = select(Project).order_by(col(Project.created_us), col(Project.id))
    if tenant_id is not None:
        query = query.where(col(Project.tenant_id) == tenant_id)
    return list((await session.execute(query)).scalars())


async def get_project(session: AsyncSession, project_id: str) -> Project:
    """Raises NotFound."""
    project = await session.get(Project, project_id)
    if project is None:
        raise NotFound("project", project_id)
    return project


async def set_project_state(
    session: AsyncSession, project_id: str, state: ProjectState, now_us: int
) -> Project:
    """Block, archive or open a project. Raises NotFound; Refused for an archived one, which stays
    archived.
    """
    project = await get_project(session, project_id)
    if project.state == state:
        return project
    if project.state == ProjectState.ARCHIVED:
        raise Refused(f"project {project_id} is archived, and stays archived")
    project.state = state
    await changes.append(session, f"project.{state}", project.id, now_us)
    return project


async def set_project_models(
    session: AsyncSession, project_id: str, permissions: ModelPermissions | None, now_us: int
) -> Project:
    """Say which models the keys of a project may call; None is every model. Raises NotFound."""
    project = await get_project(session, project_id)
    await _restrict(session, project, "model_permissions", permissions, "project.models_changed", now_us)
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
) -> tuple[ApiKey, str]:
    """A new key and its secret, which is shown once and kept nowhere.

    `model_permissions`, `scopes`, `networks`: which models and endpoints it may call, and from where; None is
    all. Raises NotFound for the project, Refused for the name, for an archived project, and for a key born
    expired; SecretChanged for another pepper than the first key's.
    """
    await secret_check.hold_to(await session.connection(), pepper, now_us)
    project = await get_project(session, project_id)
    if project.state == ProjectState.ARCHIVED:
        raise Refused(f"project {project_id} is archived: it takes no new keys")
    if expires_us is not None and expires_us <= now_us:
        raise Refused("the key would be expired from the start")
    secret = keys.mint(keys.API_PREFIX)
    key = ApiKey(
        id=new_id("key_"),
        project_id=project.id,
        tenant_id=project.tenant_id,
        name=_checked_name(name),
        digest=keys.digest(pepper, secret),
        redacted=keys.redact(secret),
        state=KeyState.ACTIVE,
        expires_us=expires_us,
        created_us=now_us,
        model_permissions=model_permissions,
        scopes=scopes,
        networks=networks,
    )
    session.add(key)
    await changes.append(session, "key.created", key.id, now_us)
    return key, secret


async def list_api_keys(
    session: AsyncSession, project_id: str | None = None, tenant_id: str | None = None
) -> list[ApiKey]:
    """Every key, or those of a project or tenant, the oldest first."""
    query = select(ApiKey).order_by(col(ApiKey.created_us), col(ApiKey.id))
    if project_id is not None:
        query = query.where(col(ApiKey.project_id) == project_id)
    if tenant_id is not None:
        query = query.where(col(ApiKey.tenant_id) == tenant_id)
    return list((await session.execute(query)).scalars())


async def get_api_key(session: AsyncSession, key_id: str) -> ApiKey:
    """Raises NotFound."""
    key = await session.get(ApiKey, key_id)
    if key is None:
        raise NotFound("key", key_id)
    return key


async def revoke_api_key(session: AsyncSession, key_id: str, now_us: int) -> ApiKey:
    """The key stops working for good, within a second on every worker. Raises NotFound."""
    return await _set_key_state(session, await get_api_key(session, key_id), KeyState.REVOKED, now_us)


async def block_api_key(session: AsyncSession, key_id: str, now_us: int) -> ApiKey:
    """The key stops working until it is unblocked. Raises NotFound; Refused for a revoked key."""
    return await _set_key_state(session, await get_api_key(session, key_id), KeyState.BLOCKED, now_us)


async def unblock_api_key(session: AsyncSession, key_id: str, now_us: int) -> ApiKey:
    """A blocked key works again. Raises NotFound; Refused for a revoked key."""
    return await _set_key_state(session, await get_api_key(session, key_id), KeyState.ACTIVE, now_us)


async def set_key_models(
    session: AsyncSession, key_id: str, permissions: ModelPermissions | None, now_us: int
) -> ApiKey:
    """Say which models a key may call; None is every model its project may call. Raises NotFound."""
    key = await get_api_key(session, key_id)
    await _restrict(session, key, "model_permissions", permissions, "key.models_changed", now_us)
    return key


async def set_key_scopes(session: AsyncSession, key_id: str, scopes: KeyScopes | None, now_us: int) -> ApiKey:
    """Say which endpoints a key may call; None is every one. Raises NotFound."""
    key = await get_api_key(session, key_id)
    await _restrict(session, key, "scopes", scopes, "key.scopes_changed", now_us)
    return key


async def set_key_networks(
    session: AsyncSession, key_id: str, networks: Networks | None, now_us: int
) -> ApiKey:
    """Say from which addresses a key may be used; None is from everywhere. Raises NotFound."""
    key = await get_api_key(session, key_id)
    await _restrict(session, key, "networks", networks, "key.networks_changed", now_us)
    return key


async def create_admin_key(
    session: AsyncSession, pepper: bytes, name: str, now_us: int
) -> tuple[AdminKey, str]:
    """A new key of the control plane and its secret, shown once.

    Raises Refused for the name, SecretChanged for another pepper than the first key's.
    """
    await secret_check.hold_to(await session.connection(), pepper, now_us)
    secret = keys.mint(keys.ADMIN_PREFIX)
    key = AdminKey(
        id=new_id("adminkey_"),
        name=_checked_name(name),
        digest=keys.digest(pepper, secret),
        redacted=keys.redact(secret),
        state=KeyState.ACTIVE,
        created_us=now_us,
    )
    session.add(key)
    await changes.append(session, "admin_key.created", key.id, now_us)
    return key, secret


async def list_admin_keys(session: AsyncSession) -> list[AdminKey]:
    """Every admin key, the oldest first."""
    query = select(AdminKey).order_by(col(AdminKey.created_us), col(AdminKey.id))
    return list((await session.execute(query)).scalars())


async def find_admin_key(session: AsyncSession, digest: bytes, now_us: int) -> AdminKey | None:
    """The active, unexpired admin key with this digest, or None."""
    key = (await session.execute(select(AdminKey).where(col(AdminKey.digest) == digest))).scalar_one_or_none()
    if (
        key is None
        or key.state != KeyState.ACTIVE
        or (key.expires_us is not None and key.expires_us <= now_us)
    ):
        return None
    return key


async def revoke_admin_key(session: AsyncSession, key_id: str, now_us: int) -> AdminKey:
    """The admin key stops working for good. Raises NotFound."""
    key = await session.get(AdminKey, key_id)
    if key is None:
        raise NotFound("admin key", key_id)
    if key.state != KeyState.REVOKED:
        key.state = KeyState.REVOKED
        await changes.append(session, "admin_key.revoked", key.id, now_us)
    return key


async def _restrict(
    session: AsyncSession, row: Project | ApiKey, column: str, value: object, kind: str, now_us: int
) -> None:
    """Sets what a project or key is restricted to; `kind` is told to the workers where that is a change."""
    if getattr(row, column) != value:
        setattr(row, column, value)
        await changes.append(session, kind, row.id, now_us)


async def _set_key_state(session: AsyncSession, key: ApiKey, state: KeyState, now_us: int) -> ApiKey:
    if key.state == state:
        return key
    if key.state == KeyState.REVOKED:
        raise Refused(f"key {key.id} is revoked, and stays revoked")
    key.state = state
    await changes.append(session, f"key.{state}", key.id, now_us)
    return key


def _checked_name(name: str) -> str:
    name = name.strip()
    if not name or len(name) > NAME_CHARS_MAX or not name.isprintable():
        raise Refused(f"a name has 1 to {NAME_CHARS_MAX} printable characters")
    return name
