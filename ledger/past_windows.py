"""Windows of limits that are long past: their balances are cleared away.

A balance is of use while its window runs, and while records that began in it may still be posted. A limit of
end users makes one for each user and day: kept for ever, they would outgrow the usage itself. What was used
stays in the usage rows.
"""

from typing import Any, Final, cast

from sqlalchemy import CursorResult, delete
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from ledger.periods import DAY_US
from ledger.tables.limits import LimitBalance

KEPT_DAYS: Final = 93
"""Since a window began: a month of it, and two more for records that come late."""


def kept_from_us(now_us: int) -> int:
    """Windows that began before this are past: nothing is added to their balances any more."""
    return now_us - KEPT_DAYS * DAY_US


def is_past(window_us: int, now_us: int) -> bool:
    """Whether the window that began then is past. One without a beginning (a lifetime, slots) never is."""
    return 0 < window_us < kept_from_us(now_us)


async def clear(session: AsyncSession, now_us: int) -> int:
    """Deletes the balances of past windows of which nothing is on lease; how many. The caller commits."""
    window_us = col(LimitBalance.window_us)
    past = delete(LimitBalance).where(
        window_us > 0, window_us < kept_from_us(now_us), col(LimitBalance.leased) == 0
    )
    deleted = await session.execute(past, execution_options={"synchronize_session": False})
    return cast(CursorResult[Any], deleted).rowcount
