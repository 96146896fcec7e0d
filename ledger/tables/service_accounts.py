"""Service accounts: whose a key is that is no person's."""

from sqlalchemy import BigInteger, Index
from sqlmodel import Field

from ledger.states import ServiceAccountRole
from ledger.tables.base import StateText, Table


class ServiceAccount(Table, table=True):
    """A program that has keys of a project. A deleted one stays, since usage names its keys."""

    __tablename__ = "service_account"
    __table_args__ = (Index("ix_service_account_project_id", "project_id", "created_us", "id"),)

    id: str = Field(primary_key=True)
    tenant_id: str = Field(foreign_key="tenant.id")
    project_id: str = Field(foreign_key="project.id")
    name: str
    role: ServiceAccountRole = Field(sa_type=StateText(ServiceAccountRole))
    created_us: int = Field(sa_type=BigInteger)
    deleted_us: int | None = Field(default=None, sa_type=BigInteger)
