"""What lets people in and is over, on both databases."""

from sqlalchemy import text

from ledger import invites, login_throttle, password_resets, sessions, ways_in
from ledger.actors import PROGRAM
from ledger.database import Database
from ledger.project_roles import ProjectGrants
from ledger.roles import Role
from ledger.sessions import Origin
from ledger.ways_in import RESETS_KEPT_US
from tests.people import NOON_US, PEPPER, TERMS, a_tenant, a_user


async def counts(database: Database) -> list[int]:
    tables = ("user_session", "password_reset", "login_rate", "invite")
    async with database.read() as session:
        return [
            (await session.execute(text(f"SELECT count(*) FROM {table}"))).scalar_one() for table in tables
        ]


async def test_only_what_is_over_goes(database: Database) -> None:
    """Guards against tables that grow for ever, and a turn that logs people out or forgets guesses."""
    tenant, _ = await a_tenant(database)
    user = await a_user(database, "ann@example.com", (tenant.id, Role.READER))
    async with database.write() as session:
        await sessions.begin(session, PEPPER, user, Origin(), TERMS, NOON_US)
        await password_resets.create(session, PEPPER, user.id, NOON_US, by=PROGRAM)
        email = "bob@example.com"
        grants = ProjectGrants(())
        await invites.create(session, PEPPER, tenant.id, email, Role.READER, grants, NOON_US, by=PROGRAM)
        await login_throttle.take(session, login_throttle.buckets(PEPPER, email, None, None), NOON_US)

    async def turn(now_us: int) -> list[int]:
        async with database.write() as session:
            await ways_in.clear(session, TERMS, now_us)
        return await counts(database)

    assert await turn(NOON_US) == [1, 1, 3, 1]
    assert await turn(NOON_US + TERMS.idle_us - 1) == [1, 1, 0, 1]
    assert await turn(NOON_US + TERMS.idle_us) == [0, 1, 0, 1]
    assert await turn(NOON_US + password_resets.LIFE_US + RESETS_KEPT_US + 1) == [0, 0, 0, 1]
