"""Answers of the control plane that are kept for a while, so that a request sent twice is done once."""

from sqlalchemy import BigInteger, LargeBinary
from sqlmodel import Field

from ledger.tables.base import Table


class KeptAnswer(Table, table=True):
    """What was answered to the request that had this idempotency key.

    `digest` is of who asked and of the key, `fingerprint` of the request; `answer` is sealed with what only
    the caller has (admin/sealing.py), and None where it was too large to keep.
    """

    __tablename__ = "kept_answer"

    digest: bytes = Field(sa_type=LargeBinary, primary_key=True)
    actor_id: str
    method: str
    path: str
    fingerprint: bytes = Field(sa_type=LargeBinary)
    http_status: int
    answer: bytes | None = Field(default=None, sa_type=LargeBinary)
    created_us: int = Field(sa_type=BigInteger, index=True)
