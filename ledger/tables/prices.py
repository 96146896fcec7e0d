"""Prices, as versions: a version holds from its time until the next version of the same model and tenant
begins.
"""

from sqlalchemy import BigInteger, Index, text
from sqlmodel import Field

from ledger.tables.base import Table


class PriceVersion(Table, table=True):
    """Micro-units of currency per million tokens; `tenant_id` None is the price for everybody else.

    Half-open and not overlapping by construction: a version has a beginning only, and no two begin together.
    """

    __tablename__ = "price_version"
    __table_args__ = (
        Index(
            "uq_price_version_default",
            "model",
            "effective_from_us",
            unique=True,
            sqlite_where=text("tenant_id IS NULL"),
            postgresql_where=text("tenant_id IS NULL"),
        ),
        Index(
            "uq_price_version_tenant",
            "model",
            "tenant_id",
            "effective_from_us",
            unique=True,
            sqlite_where=text("tenant_id IS NOT NULL"),
            postgresql_where=text("tenant_id IS NOT NULL"),
        ),
    )

    id: str = Field(primary_key=True)
    model: str
    tenant_id: str | None = Field(default=None, foreign_key="tenant.id")
    currency: str = Field(max_length=3)
    input_micros_per_mtok: int = Field(sa_type=BigInteger)
    cached_input_micros_per_mtok: int = Field(sa_type=BigInteger)
    output_micros_per_mtok: int = Field(sa_type=BigInteger)
    request_micros: int = Field(sa_type=BigInteger)
    effective_from_us: int = Field(sa_type=BigInteger)
    created_us: int = Field(sa_type=BigInteger)
