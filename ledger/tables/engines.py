"""What engines counted, and how the ledger stood to it: samples and points of reconciliation.

Written by ledger/reconciliation alone. They are kept beside the usage and never change it: a difference is
shown, not corrected. `model` is the engine's own name of it, which its calls may have other names for.
`engine_started_us` is which life of the engine it was, by the engine's clock (0 where it does not say): its
counters begin at zero with each.
"""

from sqlalchemy import BigInteger, Index
from sqlmodel import Field

from ledger.tables.base import Table


class EngineSample(Table, table=True):
    """What an engine's counters said, between `asked_us` and `at_us`. `in_flight`: its calls at work then."""

    __tablename__ = "engine_sample"

    backend: str = Field(primary_key=True)
    model: str = Field(primary_key=True)
    at_us: int = Field(primary_key=True, sa_type=BigInteger)
    asked_us: int = Field(sa_type=BigInteger)
    engine_started_us: int = Field(sa_type=BigInteger)
    counting_since_us: int = Field(sa_type=BigInteger)
    prompt_tokens: int = Field(sa_type=BigInteger)
    generation_tokens: int = Field(sa_type=BigInteger)
    in_flight: int


class ReconciliationPoint(Table, table=True):
    """How engine and ledger stood at one moment: see ledger.reconciliation.arithmetic.Point.

    Counters are the engine's from its start; the ledger's sums are of the calls that started after
    `since_us`, which is the point before, and not after `at_us`.
    """

    __tablename__ = "reconciliation_point"
    __table_args__ = (Index("ix_reconciliation_point_at_us", "at_us"),)

    backend: str = Field(primary_key=True)
    model: str = Field(primary_key=True)
    engine_started_us: int = Field(primary_key=True, sa_type=BigInteger)
    at_us: int = Field(primary_key=True, sa_type=BigInteger)
    asked_us: int = Field(sa_type=BigInteger)
    since_us: int = Field(sa_type=BigInteger)
    engine_prompt_tokens: int = Field(sa_type=BigInteger)
    engine_generation_tokens: int = Field(sa_type=BigInteger)
    calls: int = Field(sa_type=BigInteger)
    unknown_calls: int = Field(sa_type=BigInteger)
    prompt_tokens: int = Field(sa_type=BigInteger)
    folded_prompt_tokens: int = Field(sa_type=BigInteger)
    completion_tokens: int = Field(sa_type=BigInteger)
    unsure_prompt_tokens: int = Field(sa_type=BigInteger)
    untold_tokens: int = Field(sa_type=BigInteger)
    before_prompt_tokens: int = Field(sa_type=BigInteger)
    before_generation_tokens: int = Field(sa_type=BigInteger)
    after_prompt_tokens: int = Field(sa_type=BigInteger)
    after_generation_tokens: int = Field(sa_type=BigInteger)
    crossing_unknown_calls: int = Field(sa_type=BigInteger)
    checked_us: int = Field(sa_type=BigInteger)
