"""The change log: what workers follow to learn of revoked keys, new prices and blocked tenants."""

from sqlalchemy import BigInteger, Column, Integer
from sqlmodel import Field

from ledger.tables.base import Table


class Change(Table, table=True):
    """One change. Ids only grow, in the order of commits (ledger/changes.py sees to it), and are never
    reused.
    """

    __tablename__ = "change"
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: int | None = Field(
        default=None,
        sa_column=Column(
            BigInteger().with_variant(Integer(), "sqlite"), primary_key=True, autoincrement=True
        ),
    )
    at_us: int = Field(sa_type=BigInteger)
    kind: str
    subject_id: str
