"""Usage: one row for each call, and the rollups that reports read: by hour and by day, each by key and by
project.

All are written by ledger/posting.py alone. They carry no foreign keys: the ids were checked when the call
was admitted, the book keeps them whatever becomes of their subjects, and a posting pays for no look-ups.

`usage` is keyed by the request id alone, which begins with its time: PostgreSQL can cut it by month at the
key.
"""

from typing import Final

from sqlalchemy import BigInteger, CheckConstraint, Index
from sqlmodel import Field

from ledger.record import Ending
from ledger.tables.base import Picos, StateText, Table, ordered_text
from ledger.usage import UsageSource

_BY_KEY: Final = {"sqlite_with_rowid": False}
"""On SQLite a table that is its key's index: half the work for rows that are added to all the time."""


def integer_only(column: str) -> CheckConstraint:
    """SQLite alone: a sum past 64 bits becomes a float there, and a float is refused."""
    return CheckConstraint(f"typeof({column}) = 'integer'", name=f"{column}_integer").ddl_if(dialect="sqlite")


class UsageRow(Table, table=True):
    """One settled call, rated. Never changed: a correction is a new row.

    `choices_per_prompt`: the request's `n`; 1 in rows from before it was kept.
    """

    __tablename__ = "usage"
    __table_args__ = (
        Index("ix_usage_started_us", "started_us", "request_id"),
        Index("ix_usage_tenant_id_started_us", "tenant_id", "started_us", "request_id"),
        integer_only("amount_picos"),
    )

    request_id: str = Field(primary_key=True, sa_type=ordered_text())
    started_us: int = Field(sa_type=BigInteger)
    ended_us: int = Field(sa_type=BigInteger)
    first_byte_us: int = Field(sa_type=BigInteger)
    tenant_id: str
    project_id: str
    api_key_id: str
    model: str
    backend: str
    endpoint: str
    streamed: bool
    ending: Ending = Field(sa_type=StateText(Ending))
    http_status: int
    usage_source: UsageSource = Field(sa_type=StateText(UsageSource))
    prompt_tokens: int = Field(sa_type=BigInteger)
    cached_prompt_tokens: int = Field(sa_type=BigInteger)
    completion_tokens: int = Field(sa_type=BigInteger)
    amount_picos: int = Field(sa_type=Picos)
    currency: str = Field(max_length=3)
    price_version_id: str | None = None
    posted_us: int = Field(sa_type=BigInteger)
    end_user: str = Field(default="")
    choices_per_prompt: int = Field(default=1)


class UsageHour(Table, table=True):
    """Sums of the usage rows that started in one UTC hour; `hour_us` is its beginning."""

    __tablename__ = "usage_hour"
    __table_args__ = (integer_only("amount_picos"),)

    hour_us: int = Field(primary_key=True, sa_type=BigInteger)
    tenant_id: str = Field(primary_key=True)
    project_id: str = Field(primary_key=True)
    api_key_id: str = Field(primary_key=True)
    model: str = Field(primary_key=True)
    endpoint: str = Field(primary_key=True)
    currency: str = Field(primary_key=True, max_length=3)
    usage_source: UsageSource = Field(primary_key=True, sa_type=StateText(UsageSource))
    calls: int = Field(sa_type=BigInteger)
    prompt_tokens: int = Field(sa_type=BigInteger)
    cached_prompt_tokens: int = Field(sa_type=BigInteger)
    completion_tokens: int = Field(sa_type=BigInteger)
    amount_picos: int = Field(sa_type=Picos)


class ProjectHour(Table, table=True):
    """Counts of all keys of a project together, by the UTC hour: what hours of thousands of keys are read
    from. Costs are of days, so it does not say what rated the calls.
    """

    __tablename__ = "project_hour"
    __table_args__ = _BY_KEY

    hour_us: int = Field(primary_key=True, sa_type=BigInteger)
    tenant_id: str = Field(primary_key=True)
    project_id: str = Field(primary_key=True)
    model: str = Field(primary_key=True)
    endpoint: str = Field(primary_key=True)
    calls: int = Field(sa_type=BigInteger)
    prompt_tokens: int = Field(sa_type=BigInteger)
    cached_prompt_tokens: int = Field(sa_type=BigInteger)
    completion_tokens: int = Field(sa_type=BigInteger)


class UsageDay(Table, table=True):
    """Counts of the usage rows that started in one UTC day and that one price version rated; `day_us` is its
    beginning.

    Of a linear price, counts are enough: what they come to is exact (`ledger.money.rate_counts`), and no sum
    of money can pass what SQLite holds. `price_version_id` is empty where nothing is due: no price, or
    nothing known of the call.
    """

    __tablename__ = "usage_day"
    __table_args__ = _BY_KEY

    day_us: int = Field(primary_key=True, sa_type=BigInteger)
    tenant_id: str = Field(primary_key=True)
    project_id: str = Field(primary_key=True)
    api_key_id: str = Field(primary_key=True)
    model: str = Field(primary_key=True)
    endpoint: str = Field(primary_key=True)
    price_version_id: str = Field(primary_key=True)
    calls: int = Field(sa_type=BigInteger)
    prompt_tokens: int = Field(sa_type=BigInteger)
    cached_prompt_tokens: int = Field(sa_type=BigInteger)
    completion_tokens: int = Field(sa_type=BigInteger)


class ProjectDay(Table, table=True):
    """As UsageDay, of all keys of a project together: what a month of thousands of keys is read from."""

    __tablename__ = "project_day"
    __table_args__ = _BY_KEY

    day_us: int = Field(primary_key=True, sa_type=BigInteger)
    tenant_id: str = Field(primary_key=True)
    project_id: str = Field(primary_key=True)
    model: str = Field(primary_key=True)
    endpoint: str = Field(primary_key=True)
    price_version_id: str = Field(primary_key=True)
    calls: int = Field(sa_type=BigInteger)
    prompt_tokens: int = Field(sa_type=BigInteger)
    cached_prompt_tokens: int = Field(sa_type=BigInteger)
    completion_tokens: int = Field(sa_type=BigInteger)
