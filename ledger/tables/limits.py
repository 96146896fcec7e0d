"""Limits, what of them is used and leased, and who holds the leases.

`limit_balance` and `limit_rate` are the authority that every worker on every host asks; ledger/leases.py and
ledger/posting.py alone write them. They carry no foreign keys: a limit that is removed leaves what was
posted against it in peace.
"""

from sqlalchemy import BigInteger, CheckConstraint, Index
from sqlmodel import Field

from ledger.limits import LimitKind, LimitWindow
from ledger.tables.base import Amount, StateText, Table


class UsageLimit(Table, table=True):
    """A limit as it was set: ledger.limits.Limit says what the columns mean."""

    __tablename__ = "usage_limit"
    __table_args__ = (Index("ix_usage_limit_tenant_id", "tenant_id", "project_id", "api_key_id"),)

    id: str = Field(primary_key=True)
    tenant_id: str = Field(foreign_key="tenant.id")
    project_id: str | None = Field(default=None, foreign_key="project.id")
    api_key_id: str | None = Field(default=None, foreign_key="api_key.id")
    model: str | None = None
    end_user: str | None = None
    kind: LimitKind = Field(sa_type=StateText(LimitKind))
    window: LimitWindow | None = Field(default=None, sa_type=StateText(LimitWindow))
    max_value: int = Field(sa_type=Amount)
    burst: int | None = Field(default=None, sa_type=Amount)
    soft: bool = False
    by_tenant: bool = False
    created_us: int = Field(sa_type=BigInteger)
    changed_us: int = Field(sa_type=BigInteger)


class LimitBalance(Table, table=True):
    """What is used and leased of a consumable over one window, or of slots (window 0, nothing used)."""

    __tablename__ = "limit_balance"
    __table_args__ = (
        CheckConstraint("used >= 0", name="used_positive"),
        CheckConstraint("leased >= 0", name="leased_positive"),
    )

    limit_id: str = Field(primary_key=True)
    end_user: str = Field(primary_key=True)
    window_us: int = Field(primary_key=True, sa_type=BigInteger)
    used: int = Field(sa_type=Amount)
    leased: int = Field(sa_type=Amount)


class LimitRate(Table, table=True):
    """A rate's theoretical arrival time: see ledger.gcra."""

    __tablename__ = "limit_rate"

    limit_id: str = Field(primary_key=True)
    tat_us: int = Field(sa_type=BigInteger)


class LeaseHolder(Table, table=True):
    """A worker that holds leases, alive as long as its heartbeat says so."""

    __tablename__ = "lease_holder"

    id: str = Field(primary_key=True)
    host: str
    worker: int
    started_us: int = Field(sa_type=BigInteger)
    seen_us: int = Field(sa_type=BigInteger)
    turn: int = Field(default=0, sa_type=Amount)
    """Its last exchange that was committed: how it learns what became of one whose answer was lost."""


class Lease(Table, table=True):
    """What a holder has of a balance: free in its hands, held by its running calls, or settled and not yet
    posted.
    """

    __tablename__ = "lease"
    __table_args__ = (
        CheckConstraint("held >= 0", name="held_positive"),
        Index("ix_lease_limit_id", "limit_id", "end_user", "window_us"),
    )

    holder_id: str = Field(primary_key=True)
    limit_id: str = Field(primary_key=True)
    end_user: str = Field(primary_key=True)
    window_us: int = Field(primary_key=True, sa_type=BigInteger)
    held: int = Field(sa_type=Amount)
    granted: int = Field(default=0, sa_type=Amount)
    """What the holder's exchange number `granted_turn` added: how it learns what a lost answer said."""
    granted_turn: int = Field(default=0, sa_type=Amount)


class LimitEvent(Table, table=True):
    """A limit was reached in a window: once for each."""

    __tablename__ = "limit_event"

    limit_id: str = Field(primary_key=True)
    end_user: str = Field(primary_key=True)
    window_us: int = Field(primary_key=True, sa_type=BigInteger)
    at_us: int = Field(sa_type=BigInteger)
    used: int = Field(sa_type=Amount)
