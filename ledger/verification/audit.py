"""The audit log's chain: every row's hash anew, no position missing, and the end where the head says.

What it can see: a row that was changed, put in or taken out, and a tail that was cut off. What it cannot:
rows rewritten from some point to the end together with the head, by somebody who may write to the whole
database. Against that stands a head that was noted elsewhere, whose row has to be there as it was.
"""

from collections.abc import AsyncIterator
from typing import Final

from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncSession

from ledger.audit_chain import COLUMNS, GENESIS, Head, hash_of
from ledger.verification.findings import Check, Findings, Result

PAGE_ROWS: Final = 1000

# As text, so that what a hand in the table wrote is read as it is.
_PAGE: Final = text(
    f"SELECT {', '.join(COLUMNS)}, hash FROM audit_event"  # noqa: S608 - names of ours
    " WHERE position > :after ORDER BY position LIMIT :rows"
)
_HEAD: Final = text("SELECT position, hash FROM audit_head")


async def check_audit(session: AsyncSession, findings: Findings, noted: Head | None = None) -> None:
    """Looks at the whole chain. `noted`: a head that somebody kept; its row has to be the same today."""
    result = findings[Check.AUDIT]
    last = Head(0, GENESIS)
    async for row in _rows(session):
        result.looked_at += 1
        position = int(row["position"])
        gap = position - last.position - 1
        if gap:
            result.add(
                _span(last.position + 1, position - 1), f"{gap} events are gone" if gap > 1 else "it is gone"
            )
        kept = bytes(row["hash"])
        if not gap and kept != hash_of(last.hash, dict(row)):
            result.add(_span(position), f"it was changed since it was written: {row['event']}")
        last = Head(position, kept)
        if noted is not None and noted.position == position:
            _compare_noted(result, noted, last)
    await _check_head(session, result, last)
    if noted is not None and noted.position > last.position:
        result.add(_span(noted.position), "it was noted as the newest, and it is gone")


async def _check_head(session: AsyncSession, result: Result, last: Head) -> None:
    found = (await session.execute(_HEAD)).first()
    if found is None:
        result.add("head", "the row that says where the log ends is gone")
        return
    head = Head(int(found.position), bytes(found.hash))
    if head.position > last.position:
        result.add(
            _span(last.position + 1, head.position), "the end was cut off: the head says that there were more"
        )
    elif head != last:
        result.add(
            "head", f"it says that the log ends at event {head.position}, and it ends at {last.position}"
        )


def _compare_noted(result: Result, noted: Head, there: Head) -> None:
    if noted.hash != there.hash:
        result.add(_span(there.position), "it is not the one that was noted: all up to it may be rewritten")


async def _rows(session: AsyncSession) -> AsyncIterator[RowMapping]:
    after = 0
    while True:
        page = (await session.execute(_PAGE, {"after": after, "rows": PAGE_ROWS})).mappings().all()
        for row in page:
            yield row
        if len(page) < PAGE_ROWS:
            return
        after = int(page[-1]["position"])


def _span(first: int, last: int | None = None) -> str:
    return f"event {first}" if last in (None, first) else f"events {first} to {last}"
