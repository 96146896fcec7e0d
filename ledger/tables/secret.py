"""The check of the secret that the keys' digests are made with: one row, and no secret in it."""

from sqlalchemy import BigInteger, CheckConstraint, LargeBinary
from sqlmodel import Field

from ledger.tables.base import Table


class SecretCheck(Table, table=True):
    """A digest of a constant, under the pepper of the first key: ledger/secret_check.py."""

    __tablename__ = "secret_check"
    __table_args__ = (CheckConstraint("id = 1", name="one_row"),)

    id: int = Field(default=1, primary_key=True)
    digest: bytes = Field(sa_type=LargeBinary, unique=True)
    created_us: int = Field(sa_type=BigInteger)
