"""Alerts on spend: what people want to hear of, what they have heard, and what is on its way to them."""

from sqlalchemy import BigInteger, Index, text
from sqlmodel import Field

from ledger.alert_channel import AlertChannel
from ledger.tables.base import JsonText, Picos, Table


class SpendAlert(Table, table=True):
    """Tell somebody once the spend of a month reaches a threshold: a tenant's, or one project's.

    `changed_us`: when the threshold was last set: a month that had ended by then is none of its business. A
    deleted one stays, as a place for a list to go on from.
    """

    __tablename__ = "spend_alert"
    __table_args__ = (Index("ix_spend_alert_tenant_id", "tenant_id", "created_us", "id"),)

    id: str = Field(primary_key=True)
    tenant_id: str = Field(foreign_key="tenant.id")
    project_id: str | None = Field(default=None, foreign_key="project.id")
    threshold_picos: int = Field(sa_type=Picos)
    currency: str = Field(max_length=3)
    channel: AlertChannel = Field(sa_type=JsonText(AlertChannel))
    created_us: int = Field(sa_type=BigInteger)
    changed_us: int = Field(sa_type=BigInteger)
    deleted_us: int | None = Field(default=None, sa_type=BigInteger)


class SpendAlertFiring(Table, table=True):
    """An alert went off: once for each month and threshold. No foreign key: it outlives the alert."""

    __tablename__ = "spend_alert_firing"

    alert_id: str = Field(primary_key=True)
    window_us: int = Field(primary_key=True, sa_type=BigInteger)
    threshold_picos: int = Field(primary_key=True, sa_type=Picos)
    spent_picos: int = Field(sa_type=Picos)
    at_us: int = Field(sa_type=BigInteger)


class Outbound(Table, table=True):
    """A notice on its way out: written with what it tells of, sent after it, kept until it has arrived.

    `kind` and `address`: how, and to whom. `notice`: what is told, as JSON. `due_us`: when to try (again);
    None once there is nothing more to do: it was sent, or given up at `ended_us`.
    """

    __tablename__ = "outbox"
    __table_args__ = (
        Index(
            "ix_outbox_due_us",
            "due_us",
            sqlite_where=text("due_us IS NOT NULL"),
            postgresql_where=text("due_us IS NOT NULL"),
        ),
    )

    id: str = Field(primary_key=True)
    tenant_id: str
    subject_id: str
    kind: str
    address: str
    notice: str
    created_us: int = Field(sa_type=BigInteger)
    due_us: int | None = Field(default=None, sa_type=BigInteger)
    tries: int = 0
    ended_us: int | None = Field(default=None, sa_type=BigInteger)
    fault: str | None = None
    """Why the last try failed; None where it did not."""
