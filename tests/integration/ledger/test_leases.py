"""Leases on real databases: what is granted, what comes back, and what becomes of the dead's."""

from typing import Any

import pytest
from sqlalchemy import text

from ledger import leases, limit_settings, tenancy
from ledger.balance import Balance
from ledger.database import Database
from ledger.lease_terms import BalanceKey, Exchanged, Return, Wish
from ledger.leases import Expired, HolderUnknown
from ledger.limit_settings import LimitScope
from ledger.limits import Limit, LimitKind, LimitWindow
from tests.integration.ledger.balances import balance_of, key_of, register, turns
from tests.records import NOON_US


async def a_tenant(database: Database) -> str:
    async with database.write() as session:
        return (await tenancy.create_tenant(session, "Acme", 1)).id


async def a_limit(database: Database, kind: LimitKind, max_value: int, **fields: Any) -> Limit:
    """A limit of a new tenant; of a day, unless told otherwise."""
    tenant_id = await a_tenant(database)
    window = None if kind is LimitKind.CONCURRENT else fields.pop("window", LimitWindow.DAY)
    async with database.write() as session:
        scope = LimitScope(tenant_id=tenant_id)
        return await limit_settings.set_limit(session, scope, kind, window, max_value, NOON_US, **fields)


async def exchange(
    database: Database, holder_id: str, wishes: list[Wish], returns: list[Return], now_us: int = NOON_US
) -> Exchanged:
    turn = next(turns)
    return await database.transact(
        lambda connection: leases.exchange(connection, holder_id, wishes, returns, now_us, turn)
    )


async def silence(database: Database, holder_id: str, seconds: float) -> None:
    """Let the holder's last heartbeat be so long ago."""
    async with database.write() as session:
        await session.execute(
            text("UPDATE lease_holder SET seen_us = seen_us - :by WHERE id = :id"),
            {"by": int(seconds * 1_000_000), "id": holder_id},
        )


async def test_a_grant_is_never_more_than_what_is_free(database: Database) -> None:
    """Guards against an overshoot, and against a refusal of what could be granted."""
    limit = await a_limit(database, LimitKind.TOKENS, 100)
    key = key_of(limit)
    one, two = await register(database), await register(database, 1)
    (grant,) = (await exchange(database, one, [Wish(key, 70, 500)], [])).grants
    assert (grant.granted, grant.balance) == (70, Balance(100, 0, 70))
    (refused,) = (await exchange(database, two, [Wish(key, 31, 31)], [])).grants
    assert (refused.granted, refused.balance) == (0, Balance(100, 0, 70))
    assert not refused.is_gone
    (grant,) = (await exchange(database, two, [Wish(key, 30, 30)], [])).grants
    assert grant.granted == 30
    assert await balance_of(database, key) == (0, 100)


async def test_returns_go_before_wishes_and_never_beyond_what_is_held(database: Database) -> None:
    """Guards against units out of nothing: a return that was expired meanwhile, or is sent twice."""
    limit = await a_limit(database, LimitKind.TOKENS, 100)
    key = key_of(limit)
    one, two = await register(database), await register(database, 1)
    await exchange(database, one, [Wish(key, 60, 60)], [])
    await exchange(database, two, [Wish(key, 40, 40)], [])
    (grant,) = (await exchange(database, one, [Wish(key, 50, 50)], [Return(key, 60)])).grants
    assert grant.granted == 50
    await exchange(database, one, [], [Return(key, 500)])
    assert await balance_of(database, key) == (0, 40)
    await exchange(database, two, [], [Return(key, 40), Return(BalanceKey("limit_gone", "", 0), 7)])
    assert await balance_of(database, key) == (0, 0)


async def test_many_limits_in_one_exchange(database: Database) -> None:
    """Guards against answers in another order than the wishes, whatever the natures."""
    tokens = await a_limit(database, LimitKind.TOKENS, 1000)
    slots = await a_limit(database, LimitKind.CONCURRENT, 2)
    rate = await a_limit(database, LimitKind.REQUESTS, 600, window=LimitWindow.MINUTE)
    holder = await register(database)
    gone = BalanceKey("limit_gone", "", 0)
    wishes = [
        Wish(key_of(slots), 3, 3),
        Wish(gone, 1, 9),
        Wish(BalanceKey(rate.id, "", 0), 1, 4),
        Wish(key_of(tokens), 5, 5),
    ]
    answer = await exchange(database, holder, wishes, [])
    assert [grant.granted for grant in answer.grants] == [0, 9, 4, 5]
    assert [grant.is_gone for grant in answer.grants] == [False, True, False, False]
    tat_us = answer.grants[2].tat_us
    assert tat_us == answer.now_us + rate.rate.cost_us(4)
    back = await exchange(
        database, holder, [Wish(BalanceKey(rate.id, "", 0), 0, 0)], [Return(BalanceKey(rate.id, "", 0), 3)]
    )
    assert back.grants[0].tat_us == max(rate.rate.given_back(tat_us, 3), back.now_us)


async def test_a_dead_holders_slots_are_taken_when_somebody_lacks_them(database: Database) -> None:
    """Guards against slots that a killed worker keeps: they are back after ten seconds, not ten minutes."""
    limit = await a_limit(database, LimitKind.CONCURRENT, 2)
    key = key_of(limit)
    dead, live = await register(database), await register(database, 1)
    await exchange(database, dead, [Wish(key, 2, 2)], [])
    assert (await exchange(database, live, [Wish(key, 1, 1)], [])).grants[0].granted == 0
    await silence(database, dead, leases.SLOTS_LOST_S + 1)
    assert (await exchange(database, live, [Wish(key, 1, 1)], [])).grants[0].granted == 1
    assert await balance_of(database, key) == (0, 1)
    assert (await exchange(database, dead, [], [Return(key, 2)])).grants == ()
    assert await balance_of(database, key) == (0, 1)


async def test_a_dead_holders_tokens_wait_for_its_journal(database: Database) -> None:
    """Guards against tokens taken back while records that used them may still be posted, and against a
    holder that comes back and believes that it has them still.
    """
    limit = await a_limit(database, LimitKind.TOKENS, 10)
    key = key_of(limit)
    dead, live = await register(database), await register(database, 1)
    await exchange(database, dead, [Wish(key, 10, 10)], [])
    await silence(database, dead, leases.LEASES_LOST_S - 60)
    assert (await exchange(database, live, [Wish(key, 1, 1)], [])).grants[0].granted == 0
    await silence(database, dead, 61)
    assert (await exchange(database, live, [Wish(key, 1, 1)], [])).grants[0].granted == 1
    with pytest.raises(HolderUnknown):
        await exchange(database, dead, [], [])


async def expire(database: Database, most: int = 100) -> Expired:
    return await database.transact(lambda connection: leases.expire(connection, NOON_US, most))


async def test_expiry_takes_slots_first_then_the_rest(database: Database) -> None:
    """Guards against leases that nobody ever gives back, and against the living losing theirs."""
    slots = key_of(await a_limit(database, LimitKind.CONCURRENT, 5))
    tokens = key_of(await a_limit(database, LimitKind.TOKENS, 100))
    dead, live = await register(database, 7), await register(database, 1)
    for holder in (dead, live):
        await exchange(database, holder, [Wish(slots, 2, 2), Wish(tokens, 30, 30)], [])
    assert await expire(database) == (0, [], True)
    await silence(database, dead, leases.SLOTS_LOST_S + 1)
    assert await expire(database) == (1, [], True)
    assert (await balance_of(database, slots), await balance_of(database, tokens)) == ((0, 2), (0, 60))
    await silence(database, dead, leases.LEASES_LOST_S)
    gone = await expire(database)
    assert gone.leases == 1
    assert [(holder.id, holder.host, holder.worker) for holder in gone.forgotten] == [(dead, "host", 7)]
    assert (await balance_of(database, slots), await balance_of(database, tokens)) == ((0, 2), (0, 30))
    assert await expire(database) == (0, [], True)
    await exchange(database, live, [], [Return(slots, 2), Return(tokens, 30)])
    assert (await balance_of(database, slots), await balance_of(database, tokens)) == ((0, 0), (0, 0))


async def test_who_comes_back_late_gets_and_gives_back_nothing(database: Database) -> None:
    """Guards against quota that is handed out twice: to who was thought dead, and to who got it since."""
    tokens = key_of(await a_limit(database, LimitKind.TOKENS, 100))
    late, live = await register(database), await register(database, 1)
    await exchange(database, late, [Wish(tokens, 60, 60)], [])
    await silence(database, late, leases.LEASES_LOST_S + 1)
    assert (await expire(database)).leases == 1
    assert (await exchange(database, live, [Wish(tokens, 100, 100)], [])).grants[0].granted == 100
    for wishes, returns in (([], [Return(tokens, 60)]), ([Wish(tokens, 0, 0)], []), ([], [])):
        with pytest.raises(HolderUnknown):
            await exchange(database, late, wishes, returns)
    assert await balance_of(database, tokens) == (0, 100)


async def test_the_dead_of_a_whole_cluster_go_a_few_at_a_time(database: Database) -> None:
    """Guards against one transaction as long as the number of the dead, and against living workers that fill
    its places, so that the dead are never come to.
    """
    slots = key_of(await a_limit(database, LimitKind.CONCURRENT, 100))
    tokens = key_of(await a_limit(database, LimitKind.TOKENS, 1000))
    calm = [await register(database, worker) for worker in range(4)]
    for holder in calm:  # no slots, and a heartbeat every half a minute
        await exchange(database, holder, [Wish(tokens, 10, 10)], [])
        await silence(database, holder, leases.SLOTS_LOST_S + 1)
    for worker in range(5):
        holder = await register(database, worker)
        await exchange(database, holder, [Wish(slots, 1, 1), Wish(tokens, 10, 10)], [])
        await silence(database, holder, leases.LEASES_LOST_S + 1)
    went = [await expire(database, most=2) for _ in range(3)]
    assert [(turn.leases, len(turn.forgotten), turn.is_all) for turn in went] == [
        (4, 2, False),
        (4, 2, False),
        (2, 1, True),
    ]
    assert (await balance_of(database, slots), await balance_of(database, tokens)) == ((0, 0), (0, 40))
    for holder in calm:
        await exchange(database, holder, [], [Return(tokens, 10)])


@pytest.mark.postgres
async def test_expiry_waits_for_nobody_who_is_being_heard(postgresql_url: str) -> None:
    """Guards against a sweep that takes from a holder whose heartbeat is on its way, or hangs behind it."""
    database = Database(postgresql_url)
    tokens = key_of(await a_limit(database, LimitKind.TOKENS, 100))
    late = await register(database)
    await exchange(database, late, [Wish(tokens, 60, 60)], [])
    await silence(database, late, leases.LEASES_LOST_S + 1)
    async with database.write() as session:  # its exchange, not committed yet
        connection = await session.connection()
        await leases.exchange(connection, late, [Wish(tokens, 5, 5)], [], NOON_US, next(turns))
        assert await expire(database) == (0, [], True)
    assert await expire(database) == (0, [], True)
    assert await balance_of(database, tokens) == (0, 65)
    await database.close()


async def test_a_use_without_a_grant_is_a_debt(database: Database) -> None:
    """Guards against tokens a minute that an answer used beyond its estimate, and that nobody pays."""
    limit = await a_limit(database, LimitKind.TOKENS, 6000, window=LimitWindow.MINUTE, burst=1000)
    key = BalanceKey(limit.id, "", 0)
    holder = await register(database)
    answer = await exchange(database, holder, [Wish(key, 1, 10)], [])
    after = await exchange(database, holder, [Wish(key, 1, 10)], [Return(key, -5000)])
    assert answer.grants[0].granted == 10
    assert after.grants[0].granted == 0
    assert after.grants[0].tat_us is not None
    assert after.grants[0].tat_us >= after.now_us + limit.rate.cost_us(5000)


async def test_soft_rates_and_slots_leave_an_event_a_minute(database: Database) -> None:
    """Guards against an alert that nobody gets, and one for each refused call."""
    rate = await a_limit(database, LimitKind.REQUESTS, 1, window=LimitWindow.MINUTE, burst=1, soft=True)
    slots = await a_limit(database, LimitKind.CONCURRENT, 2, soft=True)
    holder = await register(database)
    keys = [BalanceKey(rate.id, "", 0), key_of(slots)]
    await exchange(database, holder, [Wish(keys[0], 1, 1), Wish(keys[1], 2, 2)], [])
    for _ in range(3):
        answer = await exchange(database, holder, [Wish(key, 1, 1) for key in keys], [])
        assert [grant.granted for grant in answer.grants] == [0, 0]
    async with database.read() as session:
        found = (await session.execute(text("SELECT limit_id, window_us, used FROM limit_event"))).all()
    assert {row.limit_id: int(row.used) for row in found} == {rate.id: 1, slots.id: 2}
    assert len(found) == 2
    assert all(row.window_us % 60_000_000 == 0 for row in found)
