"""Windows of limits long past, on both databases: what is cleared away, and what never is."""

from sqlalchemy import text

from ledger import limit_settings, past_windows, prices, tenancy
from ledger.database import Database
from ledger.limit_settings import LimitScope
from ledger.limits import EACH_USER, Limit, LimitKind, LimitWindow
from ledger.money import Rates
from ledger.past_windows import KEPT_DAYS
from ledger.periods import DAY_US
from ledger.posting import post
from ledger.terms import Terms
from tests.records import NOON_US, a_record

LATER_US = NOON_US + (KEPT_DAYS + 2) * DAY_US


async def windows(database: Database, limit: Limit) -> list[tuple[str, int, int]]:
    """Each balance of the limit: end user, window and what is used."""
    async with database.read() as session:
        found = await session.execute(
            text("SELECT end_user, window_us, used FROM limit_balance WHERE limit_id = :id ORDER BY 2, 1"),
            {"id": limit.id},
        )
        return [(end_user, int(window_us), int(used)) for end_user, window_us, used in found]


async def test_only_what_nobody_needs_is_cleared(database: Database) -> None:
    """Guards against a table that grows by a row for each end user and day for ever; and against a lifetime,
    a window that still counts, or one with something on lease that is cleared with it.
    """
    async with database.write() as session:
        tenant = await tenancy.create_tenant(session, "Acme", 1)
        project = await tenancy.create_project(session, tenant.id, "search", 1)
        key, _ = await tenancy.create_api_key(session, b"p" * 32, project.id, "ci", 1)
        await prices.set_price(session, "tiny", Rates(1_000_000, 1_000_000, 1_000_000), 1)
        scope = LimitScope(tenant_id=tenant.id)
        users = await limit_settings.set_limit(
            session, scope, LimitKind.REQUESTS, LimitWindow.DAY, 9, NOON_US, end_user=EACH_USER
        )
        days = await limit_settings.set_limit(session, scope, LimitKind.REQUESTS, LimitWindow.DAY, 9, NOON_US)
        life = await limit_settings.set_limit(
            session, scope, LimitKind.REQUESTS, LimitWindow.LIFETIME, 9, NOON_US
        )
    ids = {"tenant_id": tenant.id, "project_id": project.id, "api_key_id": key.id}

    async def call(at_us: int, end_user: str, posted_us: int) -> None:
        record = a_record(**ids, started_us=at_us, ended_us=at_us + 1, end_user=end_user)
        async with database.write() as session:
            await post(await session.connection(), [record], Terms(), posted_us)

    await call(NOON_US, "ann", NOON_US)
    await call(NOON_US + 3 * DAY_US, "ann", NOON_US + 3 * DAY_US)
    async with database.write() as session:
        await session.execute(
            text("UPDATE limit_balance SET leased = 1 WHERE limit_id = :id AND window_us < :at"),
            {"id": days.id, "at": NOON_US},
        )
        assert await past_windows.clear(session, LATER_US) == 1
    day, fourth = days.span(NOON_US)[0], days.span(NOON_US + 3 * DAY_US)[0]
    assert await windows(database, users) == [("ann", fourth, 1)]
    assert await windows(database, days) == [("", day, 1), ("", fourth, 1)]
    assert await windows(database, life) == [("", 0, 2)]

    # A record that comes later than that is in the book, and makes no balance that knows it alone.
    await call(NOON_US + 1, "bob", LATER_US)
    assert await windows(database, users) == [("ann", fourth, 1)]
    assert await windows(database, life) == [("", 0, 3)]
