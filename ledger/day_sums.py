"""A day's sums made anew, where they lack what other code has posted: daily ones from the rows, those by hour
and project from the hours by key.

While a new version is rolled out, posters of one from before these sums go on for a while: they write rows
and hours by key, and know of no others. The background worker compares the last days with those, and makes
anew what does not tie. Rules: a day is made under the book's lock, so no posting is in between; days of
which rows are missing (a detached month) are left as they are, and said.
"""

import logging
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from ledger import book_lock
from ledger.database import Database
from ledger.periods import DAY_US, iso
from ledger.usage_columns import COUNTS, DAY_KEY, PROJECT_DAY_KEY, PROJECT_HOUR_KEY

LOOKED_BACK_US: Final = 8 * DAY_US
"""A journal may have waited for a long outage."""

_log = logging.getLogger("metergate.days")

# Built from the tables' own column names: nothing from outside is in them.
_SUMS: Final = ", ".join(f"sum({name})" for name in COUNTS)
_NAMES: Final = [name for name in DAY_KEY if name != "day_us"]
_FROM_ROWS: Final = (
    f"INSERT INTO usage_day ({', '.join((*DAY_KEY, *COUNTS))})"  # noqa: S608
    f" SELECT CAST(:day AS BIGINT), {', '.join(_NAMES)}, {_SUMS} FROM (SELECT tenant_id, project_id,"
    " api_key_id, model, endpoint, 1 AS calls, prompt_tokens, cached_prompt_tokens, completion_tokens,"
    " CASE WHEN usage_source = 'unresolved' THEN '' ELSE coalesce(price_version_id, '') END"
    " AS price_version_id FROM usage WHERE started_us >= :day AND started_us < :until) AS rated"
    f" GROUP BY {', '.join(_NAMES)}"
)
_FROM_KEYS: Final = (
    f"INSERT INTO project_day ({', '.join((*PROJECT_DAY_KEY, *COUNTS))})"  # noqa: S608
    f" SELECT {', '.join(PROJECT_DAY_KEY)}, {_SUMS} FROM usage_day WHERE day_us = :day"
    f" GROUP BY {', '.join(PROJECT_DAY_KEY)}"
)
_FROM_HOURS: Final = (
    f"INSERT INTO project_hour ({', '.join((*PROJECT_HOUR_KEY, *COUNTS))})"  # noqa: S608
    f" SELECT {', '.join(PROJECT_HOUR_KEY)}, {_SUMS} FROM usage_hour"
    f" WHERE hour_us >= :day AND hour_us < :until GROUP BY {', '.join(PROJECT_HOUR_KEY)}"
)


def _untied(table: str, time: str) -> str:
    return (
        "SELECT day_us FROM (SELECT hour_us - hour_us % 86400000000 AS day_us, calls FROM usage_hour"  # noqa: S608
        " WHERE hour_us >= :from_us AND hour_us < :until_us"
        f" UNION ALL SELECT {time} - {time} % 86400000000, -calls FROM {table}"
        f" WHERE {time} >= :from_us AND {time} < :until_us) AS told"
        " GROUP BY day_us HAVING sum(calls) <> 0 ORDER BY day_us"
    )


_UNTIED_DAYS: Final = _untied("project_day", "day_us")
_UNTIED_HOURS: Final = _untied("project_hour", "hour_us")


async def untied_days(session: AsyncSession, from_us: int, until_us: int) -> list[int]:
    """The days of a span of whole days whose calls are not those of their hours by key."""
    return await _days(session, _UNTIED_DAYS, from_us, until_us)


async def untied_hours(session: AsyncSession, from_us: int, until_us: int) -> list[int]:
    """The days whose hours by project have not the calls of their hours by key."""
    return await _days(session, _UNTIED_HOURS, from_us, until_us)


async def _days(session: AsyncSession, untied: str, from_us: int, until_us: int) -> list[int]:
    found = await session.execute(text(untied), {"from_us": from_us, "until_us": until_us})
    return [int(day_us) for (day_us,) in found]


async def make_hours_anew(session: AsyncSession, day_us: int) -> None:
    """A day's hours by project, from those by key. The caller commits."""
    await book_lock.take(session)
    day = {"day": day_us, "until": day_us + DAY_US}
    for statement in ("DELETE FROM project_hour WHERE hour_us >= :day AND hour_us < :until", _FROM_HOURS):
        await session.execute(text(statement), day)


async def make_anew(session: AsyncSession, day_us: int) -> bool:
    """A day's daily sums, from its rows; False where not all of its rows are there. The caller commits."""
    await book_lock.take(session)
    day = {"day": day_us, "until": day_us + DAY_US}
    for table, column in (("usage", "started_us"), ("usage_hour", "hour_us")):
        calls = "count(*)" if table == "usage" else "coalesce(sum(calls), 0)"
        query = f"SELECT {calls} FROM {table} WHERE {column} >= :day AND {column} < :until"  # noqa: S608
        day[table] = int((await session.execute(text(query), day)).scalar_one())
    if day["usage"] != day["usage_hour"]:
        return False
    for statement in (
        "DELETE FROM usage_day WHERE day_us = :day",
        "DELETE FROM project_day WHERE day_us = :day",
        _FROM_ROWS,
        _FROM_KEYS,
    ):
        await session.execute(text(statement), day)
    return True


async def tie_last_days(database: Database, now_us: int) -> None:
    """Makes anew what does not tie of the last days. Raises DatabaseFault."""
    until_us = now_us - now_us % DAY_US + 2 * DAY_US  # hosts' clocks differ
    async with database.read() as session:
        of_hours = await untied_hours(session, until_us - LOOKED_BACK_US, until_us)
        of_days = await untied_days(session, until_us - LOOKED_BACK_US, until_us)
    for day_us in of_hours:
        async with database.write() as session:
            await make_hours_anew(session, day_us)
        _log.warning("the hourly sums by project of %s lacked calls and are made anew", iso(day_us)[:10])
    for day_us in of_days:
        async with database.write() as session:
            is_made = await make_anew(session, day_us)
        if is_made:
            _log.warning("the daily sums of %s lacked calls and are made anew", iso(day_us)[:10])
        else:
            _log.warning("the daily sums of %s do not tie, and rows of it are missing", iso(day_us)[:10])
