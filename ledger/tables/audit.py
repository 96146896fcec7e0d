"""The audit log: one row for each change, chained by hashes, and where the chain ends."""

from sqlalchemy import BigInteger, CheckConstraint, Column, Index, LargeBinary
from sqlmodel import Field

from ledger.actors import ActorKind
from ledger.roles import Role
from ledger.tables.base import StateText, Table


class AuditEvent(Table, table=True):
    """One change. Rows are only ever added: triggers refuse the rest, and `hash` covers the row before.

    `before` and `after` are JSON objects of what changed, without secrets and digests. Names and addresses
    are as they were then: a row refers to nothing that may go.
    """

    __tablename__ = "audit_event"
    __table_args__ = (Index(None, "tenant_id", "position"),)

    position: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    id: str = Field(unique=True)
    at_us: int = Field(sa_type=BigInteger, index=True)
    event: str
    tenant_id: str | None = None
    project_id: str | None = None
    subject_id: str
    actor_kind: ActorKind = Field(sa_type=StateText(ActorKind))
    actor_id: str
    actor_name: str
    actor_role: Role = Field(sa_type=StateText(Role))
    actor_email: str | None = None
    address: str | None = None
    user_agent: str | None = None
    before: str | None = None
    after: str | None = None
    hash: bytes = Field(sa_type=LargeBinary)


class AuditHead(Table, table=True):
    """Where the chain ends: the position and the hash of the newest row. One row."""

    __tablename__ = "audit_head"
    __table_args__ = (CheckConstraint("id = 1", name="one_row"),)

    id: int = Field(default=1, primary_key=True)
    position: int = Field(sa_type=BigInteger)
    hash: bytes = Field(sa_type=LargeBinary)
