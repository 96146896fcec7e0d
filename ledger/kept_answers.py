"""Answers that are kept for idempotency keys: found, kept, and cleared away after a day.

An answer is kept in the transaction of what it tells of: both are there, or neither. Whoever claims a key
holds it until its transaction ends; on SQLite there is one writer anyway. What an answer holds is not to be
read here: it comes sealed, and goes so.
"""

from typing import TYPE_CHECKING, Final

from sqlalchemy import delete, select
from sqlmodel import col

from ledger.periods import DAY_US
from ledger.tables.answers import KeptAnswer

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

KEPT_US: Final = DAY_US
"""As long as OpenAI's and Stripe's clients may come back with a key."""
ANSWERS_MAX: Final = 100_000
"""More than that many in a day: the oldest go first. With answers of a few hundred bytes, some 50 MB."""
ANSWER_BYTES_MAX: Final = 64 * 1024
"""A larger one is not kept, only that it was given: a new thing is told in a few hundred bytes."""
CLEARED_AT_ONCE: Final = 10_000


class KeyInUse(Exception):
    """Another request with this idempotency key is still at work."""


async def claim(session: "AsyncSession", digest: bytes, now_us: int) -> KeptAnswer | None:
    """What was answered before, or None: the key is then the caller's until its transaction ends. Raises
    KeyInUse.
    """
    connection = await session.connection()
    if connection.dialect.name == "postgresql":
        number = int.from_bytes(digest[:8], "big", signed=True)
        taken = await connection.exec_driver_sql(f"SELECT pg_try_advisory_xact_lock({number})")
        if not taken.scalar_one():
            raise KeyInUse("another request with this Idempotency-Key is still at work")
    kept = await session.get(KeptAnswer, digest)
    if kept is not None and kept.created_us <= now_us - KEPT_US:
        await session.delete(kept)
        await session.flush()
        return None
    return kept


async def keep(session: "AsyncSession", answer: KeptAnswer) -> None:
    """Keep an answer, behind what the session has made. The caller holds its key."""
    session.add(answer)
    await session.flush()


async def clear(session: "AsyncSession", now_us: int, *, at_most: int = ANSWERS_MAX) -> int:
    """Deletes answers that are older than a day, and the oldest beyond `at_most`: some of them, so that no
    transaction is long. How many. The caller commits.
    """
    order = select(col(KeptAnswer.digest)).order_by(col(KeptAnswer.created_us).desc(), col(KeptAnswer.digest))
    old = select(col(KeptAnswer.digest)).where(col(KeptAnswer.created_us) <= now_us - KEPT_US)
    cleared = 0
    for query in (old, order.offset(at_most)):
        digests = list((await session.execute(query.limit(CLEARED_AT_ONCE))).scalars())
        for begin in range(0, len(digests), 500):
            some = digests[begin : begin + 500]
            await session.execute(delete(KeptAnswer).where(col(KeptAnswer.digest).in_(some)))
        cleared += len(digests)
    return cleared
