"""People: users, what they are in tenants and projects, how they came in, and where they are logged in.

No password and no token is here: a salted hash of the one, digests of the other.
"""

from sqlalchemy import BigInteger, Index, LargeBinary
from sqlmodel import Field

from ledger.project_roles import ProjectGrants, ProjectRole
from ledger.roles import Role
from ledger.states import UserState
from ledger.tables.base import JsonText, StateText, Table


class User(Table, table=True):
    """A person with an e-mail address, in its one form (ledger/emails.py), and a password.

    `is_operator`: of the service itself, in every tenant; only the operator makes one.
    """

    # `user` is a word of SQL: in PostgreSQL, `SELECT * FROM user` silently reads something else.
    __tablename__ = "user_account"

    id: str = Field(primary_key=True)
    email: str = Field(unique=True)
    name: str
    state: UserState = Field(sa_type=StateText(UserState))
    is_operator: bool
    credential_hash: str | None = None
    created_us: int = Field(sa_type=BigInteger)
    last_login_us: int | None = Field(default=None, sa_type=BigInteger)


class Membership(Table, table=True):
    """What a user is in a tenant."""

    __tablename__ = "membership"
    __table_args__ = (Index("ix_membership_tenant_id", "tenant_id", "added_us", "user_id"),)

    user_id: str = Field(primary_key=True, foreign_key="user_account.id")
    tenant_id: str = Field(primary_key=True, foreign_key="tenant.id")
    role: Role = Field(sa_type=StateText(Role))
    added_us: int = Field(sa_type=BigInteger)


class ProjectMembership(Table, table=True):
    """What a member of a tenant is in one of its projects."""

    __tablename__ = "project_membership"
    __table_args__ = (Index("ix_project_membership_project_id", "project_id", "added_us", "user_id"),)

    user_id: str = Field(primary_key=True, foreign_key="user_account.id")
    project_id: str = Field(primary_key=True, foreign_key="project.id")
    role: ProjectRole = Field(sa_type=StateText(ProjectRole))
    added_us: int = Field(sa_type=BigInteger)


class Invite(Table, table=True):
    """A membership that waits for its user: whoever has the token, of which the digest is here."""

    __tablename__ = "invite"
    __table_args__ = (Index("ix_invite_tenant_id", "tenant_id", "created_us", "id"),)

    id: str = Field(primary_key=True)
    tenant_id: str = Field(foreign_key="tenant.id")
    email: str
    role: Role = Field(sa_type=StateText(Role))
    projects: ProjectGrants = Field(sa_type=JsonText(ProjectGrants))
    digest: bytes = Field(sa_type=LargeBinary, unique=True)
    created_us: int = Field(sa_type=BigInteger)
    expires_us: int = Field(sa_type=BigInteger)
    accepted_us: int | None = Field(default=None, sa_type=BigInteger)


class PasswordReset(Table, table=True):
    """Leave to set a user's password, once: for whoever has the token."""

    __tablename__ = "password_reset"

    id: str = Field(primary_key=True)
    user_id: str = Field(foreign_key="user_account.id", index=True)
    digest: bytes = Field(sa_type=LargeBinary, unique=True)
    created_us: int = Field(sa_type=BigInteger)
    expires_us: int = Field(sa_type=BigInteger, index=True)
    used_us: int | None = Field(default=None, sa_type=BigInteger)


class UserSession(Table, table=True):
    """A browser that is logged in. Its token changes now and then: `next_digest` is the one that was given
    out at `next_us` and not yet seen, `previous_digest` the one before, for calls that were under way.
    """

    __tablename__ = "user_session"

    id: str = Field(primary_key=True)
    user_id: str = Field(foreign_key="user_account.id", index=True)
    digest: bytes = Field(sa_type=LargeBinary, unique=True)
    next_digest: bytes | None = Field(default=None, sa_type=LargeBinary)
    next_us: int | None = Field(default=None, sa_type=BigInteger)
    previous_digest: bytes | None = Field(default=None, sa_type=LargeBinary)
    turned_us: int = Field(sa_type=BigInteger)
    created_us: int = Field(sa_type=BigInteger)
    seen_us: int = Field(sa_type=BigInteger)
    expires_us: int = Field(sa_type=BigInteger, index=True)
    address: str | None = None
    user_agent: str | None = None


class LoginCount(Table, table=True):
    """How many attempts to log in came out so: ledger/login_counts.py."""

    __tablename__ = "login_count"

    outcome: str = Field(primary_key=True)
    tries: int = Field(sa_type=BigInteger)


class LoginRate(Table, table=True):
    """How far ahead of the clock the logins of an address, an e-mail address or a device are
    (ledger/login_throttle.py). `bucket` is a digest: nobody reads here who tried.
    """

    __tablename__ = "login_rate"

    bucket: bytes = Field(sa_type=LargeBinary, primary_key=True)
    tat_us: int = Field(sa_type=BigInteger, index=True)
