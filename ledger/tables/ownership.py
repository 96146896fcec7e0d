"""Which user a key belonged to, and when: what usage by user is told from."""

from sqlalchemy import BigInteger
from sqlmodel import Field

from ledger.tables.base import Table


class KeyOwnership(Table, table=True):
    """A key was a user's in [from_us, until_us); None is still. Times without a span are a service account's.

    Triggers on `api_key` write it, and nothing else: who owned a key in a month that is over stays told,
    whoever it is given to. The first owner's span begins at 0.
    """

    __tablename__ = "key_ownership"

    api_key_id: str = Field(primary_key=True, foreign_key="api_key.id")
    from_us: int = Field(primary_key=True, sa_type=BigInteger)
    until_us: int | None = Field(default=None, sa_type=BigInteger)
    tenant_id: str = Field(index=True)
    user_id: str
