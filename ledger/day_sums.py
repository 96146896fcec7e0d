"""Daily sums made anew from the rows, where they lack what other code has posted.

While a new version is rolled out, posters of one from before the daily sums go on for a while: they write
rows and hourly sums, and know of no days. The background worker compares the last days with their hours, and
makes anew those that do not tie. Rules: a day is made under the book's lock, so no posting is in between; a
day of which rows are missing (a detached month) is left as it is, and said.
"""

import logging
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from ledger import book_lock
from ledger.database import Database
from ledger.periods import DAY_US, iso
from ledger.usage_columns import COUNTS, DAY_KEY, PROJECT_DAY_KEY

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
_UNTIED: Final = text(
    "SELECT day_us FROM (SELECT hour_us - hour_us % 86400000000 AS day_us, calls FROM usage_hour"
    " WHERE hour_us >= :from_us AND hour_us < :until_us UNION ALL SELECT day_us, -calls FROM project_day"
    " WHERE day_us >= :from_us AND day_us < :until_us) AS told GROUP BY day_us HAVING sum(calls) <> 0"
    " ORDER BY day_us"
)


async def untied_days(session: AsyncSession, from_us: int, until_us: int) -> list[int]:
    """The days of a span of whole days whose calls are not those of their hours."""
    found = await session.execute(_UNTIED, {"from_us": from_us, "until_us": until_us})
    return [int(day_us) for (day_us,) in found]


async def make_anew(session: AsyncSession, day_us: int) -> bool:
    """A day's sums, from its rows; False where not all of its rows are there. The caller commits."""
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
        untied = await untied_days(session, until_us - LOOKED_BACK_US, until_us)
    for day_us in untied:
        async with database.write() as session:
            is_made = await make_anew(session, day_us)
        if is_made:
            _log.warning("the daily sums of %s lacked calls and are made anew", iso(day_us)[:10])
        else:
            _log.warning("the daily sums of %s do not tie, and rows of it are missing", iso(day_us)[:10])
