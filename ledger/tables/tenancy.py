"""Tenants, their projects, and the keys that act for them."""

from sqlalchemy import BigInteger, Column, Integer, LargeBinary
from sqlmodel import Field

from ledger.networks import Networks
from ledger.permissions import KeyScopes, ModelPermissions
from ledger.roles import Role
from ledger.states import KeyState, OutagePolicy, ProjectState, TenantState
from ledger.tables.base import JsonText, StateText, Table
from ledger.tags import Tags


class Tenant(Table, table=True):
    """Who pays: OpenAI's organization."""

    __tablename__ = "tenant"

    id: str = Field(primary_key=True)
    name: str
    state: TenantState = Field(sa_type=StateText(TenantState))
    created_us: int = Field(sa_type=BigInteger)
    outage_policy: OutagePolicy = Field(default=OutagePolicy.FAIL_CLOSED, sa_type=StateText(OutagePolicy))


class Project(Table, table=True):
    """A part of a tenant, with its own keys and limits."""

    __tablename__ = "project"

    id: str = Field(primary_key=True)
    tenant_id: str = Field(foreign_key="tenant.id", index=True)
    name: str
    state: ProjectState = Field(sa_type=StateText(ProjectState))
    created_us: int = Field(sa_type=BigInteger)
    model_permissions: ModelPermissions | None = Field(default=None, sa_type=JsonText(ModelPermissions))
    archived_us: int | None = Field(default=None, sa_type=BigInteger)


class ApiKey(Table, table=True):
    """A key of the data plane. ApiKeySecret has what it is called with; `digest` and `redacted` are of the
    newest of those, for lists and for code that ran before there were rotations.

    `model_permissions`, `scopes`, `networks`: None lets every model, endpoint and address through. Its owner
    is a service account of its project or a user, one of the two; the data plane does not ask.
    """

    __tablename__ = "api_key"

    id: str = Field(primary_key=True)
    project_id: str = Field(foreign_key="project.id", index=True)
    tenant_id: str = Field(foreign_key="tenant.id", index=True)
    name: str
    digest: bytes = Field(sa_type=LargeBinary, unique=True)
    redacted: str
    state: KeyState = Field(sa_type=StateText(KeyState))
    expires_us: int | None = Field(default=None, sa_type=BigInteger)
    created_us: int = Field(sa_type=BigInteger)
    last_used_us: int | None = Field(default=None, sa_type=BigInteger)
    model_permissions: ModelPermissions | None = Field(default=None, sa_type=JsonText(ModelPermissions))
    scopes: KeyScopes | None = Field(default=None, sa_type=JsonText(KeyScopes))
    networks: Networks | None = Field(default=None, sa_type=JsonText(Networks))
    service_account_id: str | None = Field(default=None, index=True)
    user_id: str | None = Field(default=None, index=True)
    tags: Tags | None = Field(default=None, sa_type=JsonText(Tags))


class ApiKeySecret(Table, table=True):
    """What a key is called with, as a digest: one secret, or two while the grace of a rotation lasts.

    The first comes with its key: a trigger of the database makes it. `expires_us` is when the grace ends; the
    newest has none. `last_used_us`: ledger/secret_use.py. Ids grow with time and are never reused.
    """

    __tablename__ = "api_key_secret"
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: int | None = Field(
        default=None,
        sa_column=Column(
            BigInteger().with_variant(Integer(), "sqlite"), primary_key=True, autoincrement=True
        ),
    )
    api_key_id: str = Field(foreign_key="api_key.id", index=True)
    digest: bytes = Field(sa_type=LargeBinary, unique=True)
    redacted: str
    created_us: int = Field(sa_type=BigInteger)
    expires_us: int | None = Field(default=None, sa_type=BigInteger)
    last_used_us: int | None = Field(default=None, sa_type=BigInteger)


class AdminKey(Table, table=True):
    """A key of the control plane: the operator's without a tenant, or a tenant's; of the whole tenant unless
    it names a project.
    """

    __tablename__ = "admin_key"

    id: str = Field(primary_key=True)
    name: str
    digest: bytes = Field(sa_type=LargeBinary, unique=True)
    redacted: str
    state: KeyState = Field(sa_type=StateText(KeyState))
    expires_us: int | None = Field(default=None, sa_type=BigInteger)
    created_us: int = Field(sa_type=BigInteger)
    last_used_us: int | None = Field(default=None, sa_type=BigInteger)
    role: Role = Field(default=Role.OPERATOR, sa_type=StateText(Role))
    tenant_id: str | None = Field(default=None, foreign_key="tenant.id", index=True)
    project_id: str | None = Field(default=None, foreign_key="project.id")
