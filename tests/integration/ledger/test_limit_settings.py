"""Setting limits: what they start from, what a change keeps, who hears of it, and what is left of them."""

import asyncio

import pytest
from sqlalchemy import text

from ledger import changes, keys, leases, limit_settings, prices, standings, tenancy
from ledger.database import Database
from ledger.errors import NotFound, Refused
from ledger.leases import BalanceKey, Return, Wish
from ledger.limit_settings import LimitScope
from ledger.limits import EACH_USER, Limit, LimitKind, LimitWindow
from ledger.money import Rates
from ledger.periods import DAY_US, HOUR_US
from ledger.places import Cut
from ledger.posting import post
from ledger.principals import find_principal
from ledger.record import CallRecord
from ledger.standings import LimitStanding
from ledger.terms import Terms
from tests.integration.ledger.balances import balance_of, key_of, register, turns
from tests.records import NOON_US, a_record

DAY, MONTH, LIFETIME, MINUTE = LimitWindow.DAY, LimitWindow.MONTH, LimitWindow.LIFETIME, LimitWindow.MINUTE
PEPPER = b"p" * 32
TABLES = ("usage_limit", "limit_balance", "limit_rate", "lease", "limit_event")


async def a_customer(database: Database) -> tuple[str, str, str, str]:
    """The ids of a tenant, its project and its key, and the key's secret."""
    async with database.write() as session:
        tenant = await tenancy.create_tenant(session, "Acme", 1)
        project = await tenancy.create_project(session, tenant.id, "search", 1)
        key, secret = await tenancy.create_api_key(session, PEPPER, project.id, "ci", 1)
    return tenant.id, project.id, key.id, secret


async def set_limit(
    database: Database,
    scope: LimitScope,
    kind: LimitKind,
    window: LimitWindow | None,
    max_value: int,
    *,
    now_us: int = NOON_US,
    model: str | None = None,
    end_user: str | None = None,
    burst: int | None = None,
    soft: bool = False,
) -> Limit:
    async with database.write() as session:
        return await limit_settings.set_limit(
            session,
            scope,
            kind,
            window,
            max_value,
            now_us,
            model=model,
            end_user=end_user,
            burst=burst,
            soft=soft,
        )


async def standing(database: Database, *limits: Limit) -> list[LimitStanding]:
    async with database.read() as session:
        return await standings.standings(await session.connection(), limits, NOON_US)


async def news(database: Database, after_id: int) -> list[tuple[str, str]]:
    async with database.read() as session:
        found = await changes.since(await session.connection(), after_id)
    return [(change.kind, change.subject_id) for change in found]


async def post_all(database: Database, records: list[CallRecord]) -> None:
    async with database.write() as session:
        await post(await session.connection(), records, Terms(), NOON_US)


async def test_a_limit_counts_what_was_posted_before_it(database: Database) -> None:
    """Guards against a budget that begins anew because somebody set it in the middle of a month."""
    tenant_id, project_id, key_id, _ = await a_customer(database)
    ids = {"tenant_id": tenant_id, "project_id": project_id, "api_key_id": key_id}
    async with database.write() as session:
        await prices.set_price(session, "tiny", Rates(1_000_000, 1_000_000, 1_000_000), 1)
    await post_all(
        database,
        [
            a_record(**ids),
            a_record(**ids, model="other", started_us=NOON_US - 13 * HOUR_US),  # yesterday
            a_record(**(ids | {"api_key_id": "key_b"})),
            a_record(**(ids | {"project_id": "proj_b", "api_key_id": "key_b"})),
            a_record(**ids, started_us=NOON_US - 40 * DAY_US),
            a_record(tenant_id="org-b"),
        ],
    )
    tenant, project, key = LimitScope(tenant_id), LimitScope(None, project_id), LimitScope(None, None, key_id)
    expected = [
        (await set_limit(database, tenant, LimitKind.SPEND, LIFETIME, 10**15), 4 * 15 * 10**6),
        (await set_limit(database, tenant, LimitKind.TOKENS, MONTH, 10**6), 4 * 15),
        (await set_limit(database, project, LimitKind.REQUESTS, DAY, 10**6), 2),
        (await set_limit(database, project, LimitKind.REQUESTS, MONTH, 10**6, model="other"), 1),
        (await set_limit(database, key, LimitKind.TOKENS, DAY, 10**6), 15),
        (await set_limit(database, key, LimitKind.TOKENS, LIFETIME, 10**6, end_user="ann"), 0),
    ]
    assert [await balance_of(database, key_of(limit)) for limit, _ in expected] == [
        (used, 0) for _, used in expected
    ]


async def test_a_change_keeps_the_id_and_what_is_used(database: Database) -> None:
    """Guards against a raised budget that forgets what was spent, and workers that do not hear of it."""
    tenant_id, project_id, key_id, _ = await a_customer(database)
    async with database.read() as session:
        before = await changes.latest(await session.connection())
    scope = LimitScope(project_id=project_id)
    first = await set_limit(database, scope, LimitKind.TOKENS, DAY, 100)
    await post_all(database, [a_record(tenant_id=tenant_id, project_id=project_id)])
    second = await set_limit(database, scope, LimitKind.TOKENS, DAY, 200, soft=True)
    assert (second.id, second.max_value, second.soft) == (first.id, 200, True)
    assert await balance_of(database, key_of(first)) == (15, 0)
    assert await set_limit(database, scope, LimitKind.TOKENS, DAY, 200, soft=True) == second  # nothing new
    others = [
        await set_limit(database, scope, LimitKind.TOKENS, MONTH, 200),
        await set_limit(database, scope, LimitKind.TOKENS, DAY, 200, model="tiny"),
        await set_limit(database, LimitScope(api_key_id=key_id), LimitKind.TOKENS, DAY, 200),
        await set_limit(database, LimitScope(tenant_id=tenant_id), LimitKind.TOKENS, DAY, 200),
    ]
    assert len({first.id, *(limit.id for limit in others)}) == 5
    subjects = [project_id] * 4 + [key_id, tenant_id]
    assert await news(database, before) == [("limit.set", subject) for subject in subjects]
    async with database.read() as session:

        async def listed(**scope: str) -> list[Limit]:
            page = await limit_settings.page_limits(session, LimitScope(**scope), Cut(100))
            assert page.next_after is None
            return page.rows

        everything = await listed(tenant_id=tenant_id)
        assert {limit.id for limit in everything} == {second.id, *(limit.id for limit in others)}
        assert await listed() == everything
        of_project = await listed(project_id=project_id)
        assert {limit.id for limit in of_project} == {second.id, others[0].id, others[1].id}
        assert await listed(api_key_id=key_id) == [others[2]]


async def test_a_removed_limit_leaves_no_row(database: Database) -> None:
    """Guards against leases and balances of limits that are no more, and workers that keep refusing."""
    tenant_id, *_ = await a_customer(database)
    scope = LimitScope(tenant_id=tenant_id)
    tokens = await set_limit(database, scope, LimitKind.TOKENS, DAY, 10)
    rate = await set_limit(database, scope, LimitKind.TOKENS, MINUTE, 600)
    holder = await register(database)
    await post_all(database, [a_record(tenant_id=tenant_id)])
    async with database.write() as session:
        await limit_settings.set_limit(session, scope, LimitKind.TOKENS, DAY, 100, NOON_US)
        await leases.exchange(
            await session.connection(), holder, [Wish(key_of(tokens), 5, 5)], [], NOON_US, next(turns)
        )
    async with database.read() as session:
        before = await changes.latest(await session.connection())
    async with database.write() as session:
        assert (await limit_settings.remove_limit(session, tokens.id, NOON_US)).id == tokens.id
        await limit_settings.remove_limit(session, rate.id, NOON_US)
    assert await news(database, before) == [("limit.removed", tenant_id)] * 2
    async with database.write() as session:
        for table in TABLES:
            assert (await session.execute(text(f"SELECT count(*) FROM {table}"))).scalar_one() == 0, table
        back = [Return(key_of(tokens), 5), Return(BalanceKey(rate.id, "", 0), 5)]
        wish = Wish(key_of(tokens), 5, 7)
        answer = await leases.exchange(await session.connection(), holder, [wish], back, NOON_US, next(turns))
        (grant,) = answer.grants
        assert grant.is_gone and grant.granted == 7
        with pytest.raises(NotFound, match="no limit"):
            await limit_settings.remove_limit(session, tokens.id, NOON_US)


async def test_what_does_not_go_together_is_refused(database: Database) -> None:
    """Guards against a limit that holds for nobody, or that no arithmetic can keep."""
    tenant_id, project_id, *_ = await a_customer(database)
    scope = LimitScope(tenant_id=tenant_id)
    with pytest.raises(NotFound, match="no tenant"):
        await set_limit(database, LimitScope(tenant_id="org-x"), LimitKind.SPEND, DAY, 1)
    with pytest.raises(NotFound, match="no project"):
        await set_limit(database, LimitScope(project_id="proj_x"), LimitKind.SPEND, DAY, 1)
    with pytest.raises(NotFound, match="no key"):
        await set_limit(database, LimitScope(api_key_id="key_x"), LimitKind.SPEND, DAY, 1)
    for wrong in (LimitScope(), LimitScope(tenant_id, project_id)):
        with pytest.raises(Refused, match="one tenant, one project or one key"):
            await set_limit(database, wrong, LimitKind.SPEND, DAY, 1)
    with pytest.raises(Refused, match="has a window"):
        await set_limit(database, scope, LimitKind.SPEND, MINUTE, 1)
    for name in ("", "a\nb", "a\x00", "x" * 513):
        with pytest.raises(Refused, match="printable"):
            await set_limit(database, scope, LimitKind.SPEND, DAY, 1, model=name)
        with pytest.raises(Refused, match="printable"):
            await set_limit(database, scope, LimitKind.SPEND, DAY, 1, end_user=name)


async def test_a_principal_knows_every_limit_that_can_hold_for_it(database: Database) -> None:
    """Guards against a call that a limit of a level above or below does not see, or a stranger's does."""
    tenant_id, project_id, key_id, secret = await a_customer(database)
    stranger, *_ = await a_customer(database)
    async with database.write() as session:
        sibling, _ = await tenancy.create_api_key(session, PEPPER, project_id, "other", 1)
    expected = {
        await set_limit(database, LimitScope(tenant_id=tenant_id), LimitKind.SPEND, MONTH, 10**12),
        await set_limit(database, LimitScope(project_id=project_id), LimitKind.CONCURRENT, None, 8),
        await set_limit(database, LimitScope(api_key_id=key_id), LimitKind.REQUESTS, MINUTE, 60, burst=5),
        await set_limit(database, LimitScope(api_key_id=key_id), LimitKind.TOKENS, DAY, 9, model="tiny"),
    }
    await set_limit(database, LimitScope(api_key_id=sibling.id), LimitKind.TOKENS, DAY, 9)
    await set_limit(database, LimitScope(tenant_id=stranger), LimitKind.TOKENS, DAY, 9)
    async with database.read() as session:
        principal = await find_principal(await session.connection(), keys.digest(PEPPER, secret))
    assert principal is not None
    assert set(principal.limits) == expected
    assert [limit.id for limit in principal.limits] == sorted(limit.id for limit in expected)


async def test_what_is_left_of_each_limit(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards against yesterday's use shown as today's, and a page without an end."""
    tenant_id, *_ = await a_customer(database)
    scope = LimitScope(tenant_id=tenant_id)
    day = await set_limit(database, scope, LimitKind.TOKENS, DAY, 100)
    life = await set_limit(database, scope, LimitKind.REQUESTS, LIFETIME, 2)
    slots = await set_limit(database, scope, LimitKind.CONCURRENT, None, 8)
    rate = await set_limit(database, scope, LimitKind.REQUESTS, MINUTE, 600)
    users = await set_limit(database, scope, LimitKind.REQUESTS, DAY, 5, end_user=EACH_USER)
    holder = await register(database)
    wishes = [Wish(key_of(day), 30, 30), Wish(key_of(slots), 3, 3), Wish(BalanceKey(rate.id, "", 0), 10, 10)]
    async with database.write() as session:
        await leases.exchange(await session.connection(), holder, wishes, [], NOON_US, next(turns))
    await post_all(
        database,
        [
            a_record(tenant_id=tenant_id, end_user="ann"),
            a_record(tenant_id=tenant_id, end_user="bob"),
            a_record(tenant_id=tenant_id, end_user="bob"),
            a_record(tenant_id=tenant_id, end_user="eve", started_us=NOON_US - DAY_US),
        ],
    )
    found = await standing(database, rate, users, day, life, slots)
    until_us = NOON_US + DAY_US // 2
    (of_rate,) = [line for line in found if line.limit == rate]
    assert found == [
        of_rate,
        LimitStanding(users, "bob", 2, 0, 3, until_us),
        LimitStanding(users, "ann", 1, 0, 4, until_us),
        LimitStanding(day, "", 45, 30, 55, until_us),
        LimitStanding(life, "", 4, 0, 0, None),
        LimitStanding(slots, "", 0, 3, 5, None),
    ]
    full = rate.rate.capacity
    assert full - 10 <= of_rate.remaining <= full
    assert (of_rate.used, of_rate.leased, of_rate.resets_us) == (0, 0, None)
    monkeypatch.setattr(standings, "STANDINGS_MAX", 1)
    assert [line.end_user for line in await standing(database, users)] == ["bob"]


@pytest.mark.postgres
async def test_a_limit_set_while_others_post_counts_each_call_once(postgresql_url: str) -> None:
    """Guards against a call that is in the rollups a new limit starts from, and is added to it as well; or
    in neither.
    """
    hosts = [Database(postgresql_url) for _ in range(5)]
    tenant_id, *_ = await a_customer(hosts[0])
    scope = LimitScope(tenant_id=tenant_id)
    posted: list[int] = []

    async def deliver(database: Database) -> None:
        for _ in range(20):
            await post_all(database, [a_record(tenant_id=tenant_id) for _ in range(3)])
            posted.append(3)

    async def limit(database: Database) -> list[Limit]:
        made = []
        for window in (DAY, MONTH, LIFETIME):
            for model in (None, "tiny"):
                while len(posted) < 10 * len(made):
                    await asyncio.sleep(0.001)
                made.append(await set_limit(database, scope, LimitKind.REQUESTS, window, 9, model=model))
        return made

    *_, made = await asyncio.gather(*(deliver(host) for host in hosts[:4]), limit(hosts[4]))
    assert sum(posted) == 240
    assert [await balance_of(hosts[0], key_of(one)) for one in made] == [(240, 0)] * 6
    for host in hosts:
        await host.close()
