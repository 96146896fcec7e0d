"""The outbox: notices on their way out.

A notice is put in the transaction that makes it true, and taken out when it has arrived; in between any
worker may try to send it, and dies as it pleases. So a notice is sent at least once, and its id tells who
gets it twice that it is one. Rules: who sends claims a notice for a while first, by the time that it is due;
a try that fails puts it off, each time for longer, and after GIVEN_UP_US it is given up, and says why.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import CursorResult, delete, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col, select

from ledger.ids import new_id
from ledger.periods import DAY_US, HOUR_US
from ledger.tables.alerts import Outbound

SECOND_US: Final = 1_000_000
CLAIM_US: Final = 300 * SECOND_US
"""Longer than any try may take: who has died by then is not coming back for it."""
FIRST_PAUSE_US: Final = 30 * SECOND_US
PAUSE_US_MAX: Final = HOUR_US
GIVEN_UP_US: Final = 3 * DAY_US
KEPT_US: Final = 93 * DAY_US
"""How long one that has arrived, or was given up, is kept to look at."""
FAULT_CHARS_MAX: Final = 300


class OutboundKind(StrEnum):
    """How a notice goes out; `address` is a mail address or a URL."""

    MAIL = "mail"
    WEBHOOK = "webhook"


@dataclass(frozen=True, slots=True)
class Claimed:
    """A notice that is ours to send until its claim ends. `tries`: how many failed before."""

    id: str
    subject_id: str
    kind: OutboundKind
    address: str
    notice: str
    created_us: int
    tries: int


def put(
    session: AsyncSession,
    tenant_id: str,
    subject_id: str,
    kind: OutboundKind,
    address: str,
    notice: str,
    now_us: int,
) -> None:
    """A new notice, due at once. `subject_id`: what it tells of."""
    session.add(
        Outbound(
            id=new_id("msg_"),
            tenant_id=tenant_id,
            subject_id=subject_id,
            kind=kind,
            address=address,
            notice=notice,
            created_us=now_us,
            due_us=now_us,
        )
    )


async def due(session: AsyncSession, now_us: int, most: int) -> list[tuple[str, int]]:
    """Ids of what is to be sent now, and since when; the longest due first."""
    query = select(Outbound.id, Outbound.due_us).where(col(Outbound.due_us) <= now_us)
    found = await session.execute(query.order_by(col(Outbound.due_us), col(Outbound.id)).limit(most))
    return [(outbound_id, due_us) for outbound_id, due_us in found if due_us is not None]


async def claim(session: AsyncSession, outbound_id: str, due_us: int, now_us: int) -> Claimed | None:
    """Takes one to send; None where another was quicker. The caller commits before it sends."""
    taken = await _change(session, outbound_id, due_us, due_us=now_us + CLAIM_US)
    if not taken:
        return None
    row = (await session.execute(select(Outbound).where(col(Outbound.id) == outbound_id))).scalar_one()
    return Claimed(
        row.id, row.subject_id, OutboundKind(row.kind), row.address, row.notice, row.created_us, row.tries
    )


async def arrived(session: AsyncSession, sent: Claimed, now_us: int) -> None:
    """It has arrived: whoever else has claimed it since has nothing to do any more."""
    await _change(session, sent.id, None, due_us=None, ended_us=now_us, tries=sent.tries + 1, fault=None)


async def failed(session: AsyncSession, sent: Claimed, fault: str, now_us: int) -> bool:
    """A try failed: it is put off. False where it is given up for good."""
    goes_on = now_us - sent.created_us < GIVEN_UP_US
    pause_us = min(FIRST_PAUSE_US << min(sent.tries, 20), PAUSE_US_MAX)
    await _change(
        session,
        sent.id,
        None,
        due_us=now_us + pause_us if goes_on else None,
        ended_us=None if goes_on else now_us,
        tries=sent.tries + 1,
        fault=fault[:FAULT_CHARS_MAX],
    )
    return goes_on


async def clear(session: AsyncSession, now_us: int) -> int:
    """Deletes what ended long ago; how many."""
    old = delete(Outbound).where(col(Outbound.due_us).is_(None), col(Outbound.ended_us) < now_us - KEPT_US)
    return _changed(await session.execute(old))


async def _change(session: AsyncSession, outbound_id: str, as_due_us: int | None, **values: Any) -> bool:
    """Changes one that is not at its end, where it is still due at `as_due_us` (None: whenever)."""
    query = update(Outbound).where(col(Outbound.id) == outbound_id)
    query = query.where(col(Outbound.due_us).is_not(None))
    if as_due_us is not None:
        query = query.where(col(Outbound.due_us) == as_due_us)
    return _changed(await session.execute(query.values(**values))) == 1


def _changed(result: Any) -> int:
    assert isinstance(result, CursorResult)
    return result.rowcount
