"""Windows of limits that are long past: their balances are cleared away.

A balance is of use while its window runs, and while records that began in it may still be posted. A limit of
end users makes one for each user and day: kept for ever, they would outgrow the usage itself. What was used
stays in the usage rows.
"""

from typing import TYPE_CHECKING, Final

from ledger.periods import DAY_US

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

KEPT_DAYS: Final = 93
"""Since a window began: a month of it, and two more for records that come late."""


def kept_from_us(now_us: int) -> int:
    """Windows that began before this are past: nothing is added to their balances any more."""
    return now_us - KEPT_DAYS * DAY_US


def is_past(window_us: int, now_us: int) -> bool:
    """Whether the window that began then is past. One without a beginning (a lifetime, slots) never is."""
    return 0 < window_us < kept_from_us(now_us)


async def clear(session: "AsyncSession", now_us: int) -> int:
    """Deletes the balances of past windows of which nothing is on lease; how many. The caller commits."""
    past = (
        "DELETE FROM limit_balance WHERE window_us > 0"  # noqa: S608 (a number of ours)
        f" AND window_us < {kept_from_us(now_us)} AND leased = 0"
    )
    return (await (await session.connection()).exec_driver_sql(past)).rowcount
