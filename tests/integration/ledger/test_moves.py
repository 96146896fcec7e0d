"""What posting moves on the balances: what was used, what was charged, and the ends of holders."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from ledger import leases, limit_settings, prices, tenancy
from ledger.database import Database
from ledger.journal.segments import worker_folder
from ledger.journal.writer import JournalWriter
from ledger.lease_terms import BalanceKey, Wish
from ledger.limit_settings import LimitScope
from ledger.limits import EACH_USER, Limit, LimitKind, LimitWindow
from ledger.money import Rates
from ledger.periods import DAY_US
from ledger.poster import Poster
from ledger.posting import PostResult, post
from ledger.record import CallRecord, Charge, Entry, HolderEnded
from ledger.terms import Terms
from tests.integration.ledger.balances import balance_of, key_of, register, turns
from tests.records import NOON_US, a_record

DAY, MONTH, LIFETIME = LimitWindow.DAY, LimitWindow.MONTH, LimitWindow.LIFETIME


class Customer:
    """A tenant with one project and one key, their limits, and records of their calls."""

    def __init__(self, database: Database, tenant_id: str, project_id: str, key_id: str) -> None:
        self.database = database
        self.ids = {"tenant_id": tenant_id, "project_id": project_id, "api_key_id": key_id}

    async def limit(
        self,
        kind: LimitKind,
        window: LimitWindow | None,
        max_value: int,
        scope: str = "tenant_id",
        **fields: Any,
    ) -> Limit:
        async with self.database.write() as session:
            return await limit_settings.set_limit(
                session, LimitScope(**{scope: self.ids[scope]}), kind, window, max_value, NOON_US, **fields
            )

    def record(self, **fields: Any) -> CallRecord:
        return a_record(**(self.ids | fields))

    async def post(self, *entries: Entry) -> PostResult:
        return await self.database.transact(lambda connection: post(connection, entries, Terms(), NOON_US))

    async def events(self) -> set[tuple[str, str, int]]:
        async with self.database.read() as session:
            found = await session.execute(text("SELECT limit_id, end_user, used FROM limit_event"))
            return {(limit_id, end_user, int(used)) for limit_id, end_user, used in found}


@pytest.fixture
async def customer(database: Database) -> Customer:
    """A tenant whose model has a price."""
    async with database.write() as session:
        tenant = await tenancy.create_tenant(session, "Acme", 1)
        project = await tenancy.create_project(session, tenant.id, "search", 1)
        key, _ = await tenancy.create_api_key(session, b"p" * 32, project.id, "ci", 1)
        await prices.set_price(session, "tiny", Rates(1_000_000, 1_000_000, 1_000_000), 1)
    return Customer(database, tenant.id, project.id, key.id)


async def test_each_limit_counts_its_own_calls_in_its_own_unit(customer: Customer) -> None:
    """Guards against a call counted on a limit that does not hold for it, or not on one that does."""
    database = customer.database
    spend = await customer.limit(LimitKind.SPEND, MONTH, 10**15)
    tokens = await customer.limit(LimitKind.TOKENS, DAY, 10**6, "project_id", model="tiny")
    requests = await customer.limit(LimitKind.REQUESTS, LIFETIME, 10**6, "api_key_id", soft=True)
    other = await customer.limit(LimitKind.TOKENS, DAY, 10**6, model="other")
    users = await customer.limit(LimitKind.REQUESTS, DAY, 10, end_user=EACH_USER)
    ann = await customer.limit(LimitKind.TOKENS, DAY, 1000, end_user="ann")
    await customer.limit(LimitKind.TOKENS, LimitWindow.MINUTE, 1000)
    await customer.limit(LimitKind.CONCURRENT, None, 10)
    await customer.post(
        customer.record(),
        customer.record(end_user="ann"),
        customer.record(end_user="ann", model="other"),
        customer.record(end_user="bob", api_key_id="key_b"),
        customer.record(end_user="bob", api_key_id="key_b", project_id="proj_b"),
        customer.record(started_us=NOON_US - DAY_US),
        a_record(tenant_id="org-b"),
    )
    assert await balance_of(database, key_of(spend)) == (5 * 15 * 10**6, 0)
    assert await balance_of(database, key_of(tokens)) == (3 * 15, 0)
    assert await balance_of(database, BalanceKey(tokens.id, "", key_of(tokens).window_us - DAY_US)) == (15, 0)
    assert await balance_of(database, key_of(requests)) == (4, 0)
    assert await balance_of(database, key_of(other)) == (15, 0)
    assert await balance_of(database, key_of(users)._replace(end_user="ann")) == (2, 0)
    assert await balance_of(database, key_of(users)._replace(end_user="bob")) == (2, 0)
    assert await balance_of(database, key_of(ann)) == (30, 0)


async def test_a_posting_moves_the_lease_to_what_is_used_once(customer: Customer) -> None:
    """Guards against units counted twice, on lease and as used, and against a redelivery that takes
    more.
    """
    limit = await customer.limit(LimitKind.TOKENS, DAY, 100)
    key, holder = key_of(limit), await register(customer.database)
    async with customer.database.write() as session:
        await leases.exchange(
            await session.connection(), holder, [Wish(key, 60, 60)], [], NOON_US, next(turns)
        )
    record = customer.record(holder_id=holder, charges=(Charge(*key, 20),))
    again = customer.record(holder_id=holder, charges=(Charge(*key, 25), Charge("limit_gone", "", 0, 9)))
    assert await customer.post(record, record) == PostResult(1, 1)
    assert await balance_of(customer.database, key) == (15, 40)
    assert await customer.post(record, again) == PostResult(1, 1)
    assert await balance_of(customer.database, key) == (30, 15)
    await customer.post(customer.record(holder_id=holder, charges=(Charge(*key, 99),)))
    assert await balance_of(customer.database, key) == (45, 0)


async def test_an_outages_overage_counts_in_full_and_touches_no_lease(customer: Customer) -> None:
    """Guards against calls admitted past the leases that are lost where the limit is full, or that are taken
    off the lease of calls which had one.
    """
    limit = await customer.limit(LimitKind.TOKENS, DAY, 100)
    key, holder = key_of(limit), await register(customer.database)
    async with customer.database.write() as session:
        await leases.exchange(
            await session.connection(), holder, [Wish(key, 60, 60)], [], NOON_US, next(turns)
        )
    beyond = [customer.record() for _ in range(20)]
    leased = customer.record(holder_id=holder, charges=(Charge(*key, 15),))
    partly = customer.record(holder_id=holder, charges=(Charge(*key, 4),))
    assert await customer.post(*beyond, leased, partly) == PostResult(22, 0)
    assert await balance_of(customer.database, key) == (22 * 15, 60 - 15 - 4)
    async with customer.database.write() as session:
        wishes = [Wish(key, 0, 50, 50)]
        answer = await leases.exchange(await session.connection(), holder, wishes, [], NOON_US, next(turns))
    (grant,) = answer.grants
    assert (grant.granted, grant.balance and grant.balance.unspent) == (0, 0)
    assert await customer.post(HolderEnded(holder)) == PostResult(0, 0, 0, 1)
    assert await balance_of(customer.database, key) == (22 * 15, 0)


async def test_an_end_gives_back_what_its_records_left(customer: Customer) -> None:
    """Guards against an end that comes before the records in its batch, and a late record that takes what
    is somebody else's.
    """
    limit = await customer.limit(LimitKind.TOKENS, DAY, 100)
    slots = await customer.limit(LimitKind.CONCURRENT, None, 5)
    key = key_of(limit)
    one, two = await register(customer.database), await register(customer.database)
    async with customer.database.write() as session:
        await leases.exchange(
            await session.connection(),
            one,
            [Wish(key, 40, 40), Wish(key_of(slots), 3, 3)],
            [],
            NOON_US,
            next(turns),
        )
        await leases.exchange(await session.connection(), two, [Wish(key, 40, 40)], [], NOON_US, next(turns))
    record = customer.record(holder_id=one, charges=(Charge(*key, 15),))
    assert await customer.post(record, HolderEnded(one), HolderEnded("holder_gone")) == PostResult(
        1, 0, ended=2
    )
    assert await balance_of(customer.database, key) == (15, 40)
    assert await balance_of(customer.database, key_of(slots)) == (0, 0)
    await customer.post(customer.record(holder_id=one, charges=(Charge(*key, 15),)))
    await customer.post(HolderEnded(one))
    assert await balance_of(customer.database, key) == (30, 40)


async def test_a_removed_limit_leaves_posting_in_peace(customer: Customer) -> None:
    """Guards against a poster that stops for ever at a charge on what is not there any more."""
    limit = await customer.limit(LimitKind.TOKENS, DAY, 100)
    key, holder = key_of(limit), await register(customer.database)
    async with customer.database.write() as session:
        await leases.exchange(
            await session.connection(), holder, [Wish(key, 40, 40)], [], NOON_US, next(turns)
        )
    async with customer.database.write() as session:
        await limit_settings.remove_limit(session, limit.id, NOON_US)
        # What a worker that asked at that very moment leaves behind.
        await session.execute(
            text("INSERT INTO lease VALUES (:holder_id, :limit_id, '', 0, 7, 7, 1)"),
            {"holder_id": holder, "limit_id": limit.id},
        )
    record = customer.record(holder_id=holder, charges=(Charge(*key, 15),))
    assert await customer.post(record, HolderEnded(holder)) == PostResult(1, 0, ended=1)
    assert await balance_of(customer.database, key._replace(window_us=0)) == (0, 0)


async def test_a_limit_that_is_reached_is_noted_once_a_window(customer: Customer) -> None:
    """Guards against an alert for every call past a soft limit, or for none."""
    soft = await customer.limit(LimitKind.TOKENS, DAY, 45, soft=True)
    users = await customer.limit(LimitKind.REQUESTS, MONTH, 2, end_user=EACH_USER)
    await customer.post(customer.record(), customer.record(end_user="ann"))
    assert await customer.events() == set()
    await customer.post(customer.record(end_user="ann"), customer.record(end_user="bob"))
    assert await customer.events() == {(soft.id, "", 60), (users.id, "ann", 2)}
    await customer.post(*(customer.record(end_user="ann") for _ in range(5)))
    assert await customer.events() == {(soft.id, "", 60), (users.id, "ann", 2)}


async def test_a_sum_past_64_bits_stays_past_every_limit(customer: Customer) -> None:
    """Guards against a balance that turns into a float, or that stops posting for good, on SQLite."""
    limit = await customer.limit(LimitKind.TOKENS, LIFETIME, 9 * 10**18)
    for number in range(3):
        await customer.post(
            customer.record(prompt_tokens=4 * 10**18, started_us=NOON_US + number * DAY_US, model="free")
        )
    used, _ = await balance_of(customer.database, key_of(limit))
    assert used >= limit.max_value


async def test_a_killed_workers_leases_come_back_through_its_journal(
    customer: Customer, tmp_path: Path
) -> None:
    """Guards against an end that is posted before the records it follows, or that holds the cursor up."""
    limit = await customer.limit(LimitKind.TOKENS, DAY, 1000)
    key, holder = key_of(limit), await register(customer.database)
    async with customer.database.write() as session:
        await leases.exchange(
            await session.connection(), holder, [Wish(key, 500, 500)], [], NOON_US, next(turns)
        )
    folder = worker_folder(tmp_path, 0)
    writer = JournalWriter(folder)
    writer.begin_holder(holder)
    for _ in range(10):
        writer.append(customer.record(holder_id=holder, charges=(Charge(*key, 15),)))
    name = (folder / "holder").read_text()
    writer.close()
    (folder / "holder").write_text(name)  # as if it had been killed
    poster = Poster(customer.database, tmp_path, Terms(), lambda: NOON_US)
    assert await poster.drain() == PostResult(10, 0, ended=1)
    assert await balance_of(customer.database, key) == (150, 0)
    successor = JournalWriter(folder)
    successor.begin_holder(await register(customer.database))
    assert await poster.drain() == PostResult(0, 0, ended=1)
    assert await balance_of(customer.database, key) == (150, 0)
    successor.close()
    poster.close()


async def test_a_poster_hears_of_limits_that_are_set_and_removed(customer: Customer) -> None:
    """Guards against terms that a poster keeps: a limit set since would count nothing, and one that is
    removed would stop all posting.
    """
    database, terms = customer.database, Terms()

    async def post_one(started_us: int = NOON_US) -> None:
        entries = [customer.record(started_us=started_us)]
        await database.transact(lambda connection: post(connection, entries, terms, NOON_US))

    await post_one()
    first = await customer.limit(LimitKind.TOKENS, DAY, 1000)
    await post_one()
    assert await balance_of(database, key_of(first)) == (2 * 15, 0)
    second = await customer.limit(LimitKind.REQUESTS, DAY, 1000, "api_key_id")
    async with database.write() as session:
        await limit_settings.remove_limit(session, first.id, NOON_US)
        await prices.set_price(session, "tiny", Rates(7, 7, 7), NOON_US)
    await post_one(NOON_US + 9)
    assert await balance_of(database, key_of(second)) == (3, 0)
    async with database.read() as session:
        newest = "SELECT amount_picos FROM usage ORDER BY amount_picos LIMIT 1"
        assert int((await session.execute(text(newest))).scalar_one()) == 7 * 15
