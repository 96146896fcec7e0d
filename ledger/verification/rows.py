"""What is wrong with single rows: which ones they are, once the sums of their hour say that there are some.

Counting is the database's work, an hour at a time; here are the statements that find the rows themselves, run
only where there is something to find.
"""

from typing import Final

from sqlalchemy import func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from ledger.ids import id_at, id_time_us
from ledger.periods import HOUR_US
from ledger.price_book import PriceBook
from ledger.verification.findings import Check, Findings, Result
from ledger.verification.hours import (
    PRICES,
    ROWS,
    Rated,
    expected_amount,
    impossible,
    within,
    wrong_amount,
)

_AFTER_ALL_IDS: Final = "\x7f"


async def check_ids(
    session: AsyncSession, findings: Findings, from_us: int | None, until_us: int | None
) -> None:
    """Every request id once. By the key's own order, an hour of ids at a time."""
    result = findings[Check.REQUEST_IDS]
    end = _AFTER_ALL_IDS if until_us is None else id_at(until_us)
    begin = "" if from_us is None else id_at(from_us)
    while True:
        query = select(func.min(ROWS.c.request_id)).where(ROWS.c.request_id >= begin, ROWS.c.request_id < end)
        first = (await session.execute(query)).scalar_one()
        if first is None:
            return
        at_us = id_time_us(first)
        until = first + "\x01" if at_us is None else id_at(at_us - at_us % HOUR_US + HOUR_US)
        await _check_ids(session, result, first, min(until, end))
        begin = until


async def _check_ids(session: AsyncSession, result: Result, begin: str, end: str) -> None:
    ids = (
        select(ROWS.c.request_id, func.count().label("times"))
        .where(ROWS.c.request_id >= begin, ROWS.c.request_id < end)
        .group_by(ROWS.c.request_id)
        .subquery()
    )
    several = ids.c.times > 1
    counts = select(func.count(), func.count().filter(several)).select_from(ids)
    distinct, repeated = (await session.execute(counts)).one()
    result.looked_at += distinct
    result.faults += repeated
    if repeated and result.room:
        query = select(ids).where(several).order_by(ids.c.request_id).limit(result.room)
        for request_id, times in await session.execute(query):
            result.show(request_id, f"is in the book {times} times")


async def check_rows(session: AsyncSession, findings: Findings, rated: list[Rated], hour_us: int) -> None:
    """Impossible rows and wrong amounts of an hour."""
    calls = sum(part.sums.calls for part in rated)
    rows, amounts = findings[Check.ROWS], findings[Check.AMOUNTS]
    rows.looked_at += calls
    amounts.looked_at += calls
    rows.faults += (bad := sum(part.impossible for part in rated))
    amounts.faults += (wrong := sum(part.wrong_amounts for part in rated))
    if bad and rows.room:
        why = impossible(session)
        query = select(ROWS.c.request_id, *why.values()).where(or_(*why.values()))
        query = within(query, ROWS.c.started_us, hour_us, hour_us + HOUR_US).order_by(ROWS.c.request_id)
        for request_id, *flags in await session.execute(query.limit(rows.room)):
            rows.show(request_id, "; ".join(what for what, flag in zip(why, flags, strict=True) if flag))
    if wrong and amounts.room:
        query = (
            select(ROWS.c.request_id, ROWS.c.amount_picos, expected_amount(), ROWS.c.price_version_id)
            .select_from(ROWS.outerjoin(PRICES, PRICES.c.id == ROWS.c.price_version_id))
            .where(wrong_amount())
            .order_by(ROWS.c.request_id)
        )
        query = within(query, ROWS.c.started_us, hour_us, hour_us + HOUR_US)
        for request_id, amount, expected, version_id in await session.execute(query.limit(amounts.room)):
            by = "it has no price" if version_id is None else f"its tokens by {version_id}"
            amounts.show(request_id, f"its amount is {amount} picos, {by}: {expected:.0f}")


async def check_prices(
    session: AsyncSession, findings: Findings, rated: list[Rated], book: PriceBook
) -> None:
    """Rows that another price version should have rated.

    A version of a model is in force for a tenant over one stretch of time, without a gap: where it is at the
    first and the last row of some, it is at each in between.
    """
    result = findings[Check.PRICES]
    for part in rated:
        result.looked_at += part.sums.calls
        if not all(_is_right(book, part, at_us) for at_us in set(part.started_us)):
            await _find_prices(session, result, part, book)


def _is_right(book: PriceBook, part: Rated, at_us: int) -> bool:
    version = book.in_force(part.group.model, part.group.tenant_id, at_us)
    if version is None:
        return part.price_version_id is None
    return version.id == part.price_version_id and version.currency == part.group.currency


async def _find_prices(session: AsyncSession, result: Result, part: Rated, book: PriceBook) -> None:
    group = part.group
    query = select(ROWS.c.request_id, ROWS.c.started_us).where(
        ROWS.c.tenant_id == group.tenant_id,
        ROWS.c.project_id == group.project_id,
        ROWS.c.api_key_id == group.api_key_id,
        ROWS.c.model == group.model,
        ROWS.c.endpoint == group.endpoint,
        ROWS.c.currency == group.currency,
        ROWS.c.usage_source == group.usage_source,
        ROWS.c.price_version_id.is_not_distinct_from(part.price_version_id),
    )
    query = within(query, ROWS.c.started_us, group.hour_us, group.hour_us + HOUR_US)
    async for row in await session.stream(query.order_by(ROWS.c.request_id)):
        request_id, started_us = row.request_id, row.started_us
        if not _is_right(book, part, started_us):
            right = book.in_force(group.model, group.tenant_id, started_us)
            expected = "none was in force" if right is None else f"{right.id} ({right.currency}) was in force"
            result.add(
                request_id, f"it is rated by {part.price_version_id} ({group.currency}), and {expected}"
            )
