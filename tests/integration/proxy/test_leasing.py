"""The worker's desk on real databases: how often it asks, what comes back, and what a failure leaves."""

import asyncio
import gc

import pytest
from sqlalchemy import text

from ledger import leases
from ledger.database import Database
from ledger.errors import JournalFault
from ledger.leases import LEASES_LOST_S
from ledger.limits import EACH_USER, LimitKind, LimitWindow
from proxy import leasing
from proxy.allowances import Account, Shortage
from proxy.leasing import LeasesUnknown
from tests.desks import a_bench, a_limit, forget_holders, remove
from tests.integration.ledger.balances import balance_of
from tests.records import NOON_US


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A database of a loaded machine is slow, and not away: here that is told by its faults alone."""
    monkeypatch.setattr(leasing, "PATIENCE_SECONDS", 60)
    monkeypatch.setattr(leasing, "PROBE_SECONDS", 60)


async def take(bench_account: Account, desk_fetch: asyncio.Task[None], amount: int) -> bool:
    await desk_fetch
    if bench_account.can_take(amount, NOON_US):
        bench_account.take(amount, NOON_US)
        return True
    return False


async def test_calls_that_wait_for_one_limit_share_an_exchange(database: Database) -> None:
    """Guards against a transaction for each of the calls that came while one was under way."""
    limit = await a_limit(database, LimitKind.REQUESTS, 1000)
    async with a_bench(database) as bench:
        account = bench.account(limit)
        fetches = [asyncio.create_task(bench.desk.fetch([(account, 1, 1)])) for _ in range(50)]
        taken = await asyncio.gather(*(take(account, fetch, 1) for fetch in fetches))
        assert taken.count(True) == 50
        assert bench.exchanges == 1


async def test_near_the_edge_every_waiting_call_that_fits_is_served(database: Database) -> None:
    """Guards against blocks that shrink by eighths while calls wait that would all have fitted."""
    limit = await a_limit(database, LimitKind.REQUESTS, 64)
    async with a_bench(database) as bench:
        account = bench.account(limit)
        fetches = [asyncio.create_task(bench.desk.fetch([(account, 1, 1)])) for _ in range(70)]
        taken = await asyncio.gather(*(take(account, fetch, 1) for fetch in fetches))
        assert taken.count(True) == 64
        assert bench.exchanges == 1


async def test_what_idles_is_back_within_half_a_second(database: Database) -> None:
    """Guards against units that lie in a worker's hands, whenever in a tick they were granted."""
    limit = await a_limit(database, LimitKind.TOKENS, 1000)
    async with a_bench(database) as bench:
        account = bench.account(limit)
        for late_us in (1, 120_000, 249_999):
            bench.now_us += late_us
            granted_us = bench.now_us
            await bench.desk.fetch([(account, 100, 100)])
            assert await balance_of(database, account.key) == (0, 100)
            bench.now_us += -bench.now_us % 250_000 - 250_000
            while bench.now_us + 250_000 <= granted_us + 500_000:
                await bench.tick()
            assert await balance_of(database, account.key) == (0, 0)


async def test_what_was_leased_for_a_refused_call_goes_back(database: Database) -> None:
    """Guards against one limit locked up by calls that another one refuses."""
    tokens = await a_limit(database, LimitKind.TOKENS, 1000)
    calls = await a_limit(database, LimitKind.REQUESTS, 0)
    async with a_bench(database) as bench:
        wide, none = bench.account(tokens), bench.account(calls)
        await bench.desk.fetch([(wide, 900, 900), (none, 1, 1)])
        assert none.shortage(1, bench.now_us) is Shortage.EXHAUSTED
        assert (await balance_of(database, wide.key))[1] == 900
        await bench.tick(2)
        assert await balance_of(database, wide.key) == (0, 0)


async def test_a_database_that_is_away_is_not_waited_for_and_comes_back(database: Database) -> None:
    """Guards against calls that hang with the database, and a desk that stays down after it."""
    limit = await a_limit(database, LimitKind.TOKENS, 1000)
    async with a_bench(database) as bench:
        account = bench.account(limit)
        bench.database.before = 1
        with pytest.raises(LeasesUnknown):
            await bench.desk.fetch([(account, 10, 10)])
        assert bench.desk.is_away
        writes = bench.database.writes
        with pytest.raises(LeasesUnknown):
            await bench.desk.fetch([(account, 10, 10)])
        for _ in range(100):  # running streams want more
            bench.desk.ask(account, 1, 10)
            await bench.settled()
        assert bench.database.writes == writes
        bench.now_us += 500_001
        await bench.desk.fetch([(account, 10, 10)])
        assert account.available == 10
        assert not bench.desk.is_away


async def test_a_holder_given_up_for_dead_begins_with_empty_hands(database: Database) -> None:
    """Guards against leases that were taken away and are used all the same, by calls that had them."""
    limit = await a_limit(database, LimitKind.TOKENS, 1000)
    async with a_bench(database) as bench:
        account = bench.account(limit)
        await bench.desk.fetch([(account, 500, 500)])
        account.take(300, bench.now_us)
        bench.desk.watch(account)
        await forget_holders(database)
        with pytest.raises(LeasesUnknown):
            await bench.desk.fetch([(account, 400, 400)])
        assert len(bench.holders) == 2
        assert account.available + account.in_use == 0
        await bench.tick(3)
        # What the running call has is on lease again.
        assert await balance_of(database, account.key) == (0, 300)
        assert (account.available, account.in_use) == (0, 300)
        assert account.settle(300, 100) == 100
        await bench.tick(3)
        assert await balance_of(database, account.key) == (0, 100)


async def test_a_journal_that_fails_the_new_holder_is_tried_again(database: Database) -> None:
    """Guards against a desk that ends for good where a full disk meets a lost holder."""
    limit = await a_limit(database, LimitKind.TOKENS, 1000)
    fails = iter([False, True, False, False])

    def on_holder(holder_id: str) -> None:
        if next(fails):
            raise JournalFault("the disk is full")

    async with a_bench(database, on_holder=on_holder) as bench:
        account = bench.account(limit)
        await forget_holders(database)
        for _ in range(2):
            with pytest.raises(LeasesUnknown):
                await bench.desk.fetch([(account, 10, 10)])
            await bench.settled()
            bench.now_us += 500_001
        await bench.desk.fetch([(account, 10, 10)])
        assert account.available == 10


async def test_an_exchange_whose_answer_was_lost_is_made_once(database: Database) -> None:
    """Guards against returns that go back twice, out of what running calls hold."""
    limit = await a_limit(database, LimitKind.TOKENS, 1000)
    async with a_bench(database) as bench:
        account = bench.account(limit)
        await bench.desk.fetch([(account, 100, 100)])
        account.take(60, bench.now_us)
        bench.desk.watch(account)
        bench.database.after = 1
        await bench.tick(2)
        assert bench.desk.is_away
        await bench.tick(4)
        assert not bench.desk.is_away
        assert await balance_of(database, account.key) == (0, 60)
        assert (account.available, account.in_use, account.back) == (0, 60, 0)


async def test_a_slot_granted_in_a_lost_answer_is_no_slot_lost(database: Database) -> None:
    """Guards against a limit on calls in flight that shrinks with each answer the network swallows."""
    limit = await a_limit(database, LimitKind.CONCURRENT, 2)
    async with a_bench(database) as bench:
        account = bench.account(limit)
        await bench.desk.fetch([(account, 1, 1)])
        account.take(1, bench.now_us)
        bench.database.after = 1
        with pytest.raises(LeasesUnknown):
            await bench.desk.fetch([(account, 1, 1)])
        await bench.tick(4)
        assert await balance_of(database, account.key) == (0, 1)
        assert (account.available, account.in_use) == (0, 1)


@pytest.mark.parametrize("kind", [LimitKind.TOKENS, LimitKind.CONCURRENT])
async def test_what_lost_answers_granted_is_not_lost(database: Database, kind: LimitKind) -> None:
    """Guards against a budget that shrinks for good by a block with each answer the network swallows."""
    limit = await a_limit(database, kind, 1000)
    async with a_bench(database) as bench:
        account = bench.account(limit)
        await bench.desk.fetch([(account, 10, 10)])
        account.take(10, bench.now_us)
        for _ in range(5):
            bench.database.after = 2  # the answer, and the answer to the question what it was
            with pytest.raises(LeasesUnknown):
                await bench.desk.fetch([(account, 100, 100)])
            await bench.tick(8)
            assert not bench.desk.is_away
        assert await balance_of(database, account.key) == (0, 10)
        assert (account.available, account.in_use, account.back) == (0, 10, 0)


async def test_slots_survive_an_outage_whole(database: Database) -> None:
    """Guards against slots that are lost, or are there twice, after the database was away for long."""
    limit = await a_limit(database, LimitKind.CONCURRENT, 8)
    async with a_bench(database) as bench:
        account = bench.account(limit)
        await bench.desk.fetch([(account, 8, 8)])
        account.take(5, bench.now_us)
        bench.desk.watch(account)
        bench.database.before = 1_000
        await bench.tick(50)
        account.settle(2, 0)
        bench.desk.watch(account)
        bench.database.before = 0
        await bench.tick(6)
        assert await balance_of(database, account.key) == (0, 3)
        assert (account.available, account.in_use) == (0, 3)
        account.settle(3, 0)
        bench.desk.watch(account)
        await bench.tick(3)
        assert await balance_of(database, account.key) == (0, 0)


async def test_slots_that_others_got_meanwhile_are_not_handed_on(database: Database) -> None:
    """Guards against calls that end and leave a slot which has been somebody else's since an outage."""
    limit = await a_limit(database, LimitKind.CONCURRENT, 4)
    async with a_bench(database) as bench, a_bench(database) as other:
        account, theirs = bench.account(limit), other.account(limit)
        await bench.desk.fetch([(account, 4, 4)])
        account.take(4, bench.now_us)
        bench.desk.watch(account)
        bench.database.before = 1_000
        await bench.tick(50)
        await other.tick(50)
        await forget_leases_of(database, bench.desk.holder_id)
        await other.desk.fetch([(theirs, 4, 4)])
        theirs.take(4, other.now_us)
        bench.database.before = 0
        await bench.tick(4)
        account.settle(1, 0)
        assert not account.can_take(1, bench.now_us)
        assert await balance_of(database, account.key) == (0, 4)


async def forget_leases_of(database: Database, holder_id: str) -> None:
    """As `expire` does with the slots of a holder that was silent."""
    async with database.write() as session:
        await session.execute(text("DELETE FROM lease WHERE holder_id = :id"), {"id": holder_id})
        await session.execute(text("UPDATE limit_balance SET leased = 0"))


async def test_a_limit_removed_under_running_calls_is_no_limit_and_no_work(database: Database) -> None:
    """Guards against a removed limit that refuses, and one that is asked about again and again."""
    limit = await a_limit(database, LimitKind.TOKENS, 100)
    async with a_bench(database) as bench:
        account = bench.account(limit)
        await bench.desk.fetch([(account, 80, 80)])
        account.take(80, bench.now_us)
        await remove(database, limit)
        await bench.desk.fetch([(account, 500, 500)])
        assert account.can_take(500, bench.now_us)
        account.take(500, bench.now_us)
        bench.desk.watch(account)
        account.settle(80, 90)
        account.settle(500, 10)
        await bench.tick(2)
        exchanges = bench.exchanges
        await bench.tick(8)  # less than a heartbeat
        assert bench.exchanges <= exchanges + 1
        assert account not in bench.desk._active


async def test_accounts_of_users_who_do_not_come_back_are_forgotten(database: Database) -> None:
    """Guards against a worker's memory that anybody fills who makes up names of users."""
    limit = await a_limit(database, LimitKind.TOKENS, 100, end_user=EACH_USER)
    async with a_bench(database) as bench:
        for number in range(1000):
            bench.account(limit, f"user-{number}")
        await bench.tick()
        gc.collect()
        assert len(bench.desk._accounts) == 0
        kept = bench.account(limit, "user-1")
        bench.now_us += 120_000_000
        await bench.tick()
        assert bench.account(limit, "user-1") is kept


async def test_stopping_gives_everything_back(database: Database) -> None:
    """Guards against leases that outlive a clean stop until they expire."""
    limit = await a_limit(database, LimitKind.TOKENS, 1000)
    slots = await a_limit(database, LimitKind.CONCURRENT, 8)
    async with a_bench(database) as bench:
        accounts = bench.account(limit), bench.account(slots)
        await bench.desk.fetch([(accounts[0], 700, 700), (accounts[1], 4, 4)])
        bench.now_us += 3_600_000_000
        bench.now_us -= 3_600_000_000
    for account in accounts:
        assert await balance_of(database, account.key) == (0, 0)


async def test_stopping_while_an_exchange_is_under_way_gives_its_grant_back(database: Database) -> None:
    """Guards against a grant that arrives at a desk which has already given everything back."""
    limit = await a_limit(database, LimitKind.TOKENS, 1000)
    async with a_bench(database) as bench:
        account = bench.account(limit)
        bench.database.open.clear()
        bench.desk.ask(account, 100, 100)
        while bench.database.writes < 2:
            await asyncio.sleep(0)
        stopping = asyncio.create_task(bench.desk.stop())
        await asyncio.sleep(0)
        bench.database.open.set()
        await stopping
        assert await balance_of(database, account.key) == (0, 0)


@pytest.mark.parametrize(
    ("kind", "window", "max_value"),
    [
        (LimitKind.REQUESTS, LimitWindow.DAY, 3),
        (LimitKind.REQUESTS, LimitWindow.MINUTE, 3),
        (LimitKind.CONCURRENT, None, 3),
    ],
)
async def test_a_flood_of_refused_calls_costs_the_database_nothing(
    database: Database, kind: LimitKind, window: LimitWindow | None, max_value: int
) -> None:
    """Guards against a client without a budget that keeps the database busy."""
    fields = {} if window is None else {"window": window}
    limit = await a_limit(database, kind, max_value, **fields)
    admitted = 0
    async with a_bench(database) as bench:
        account = bench.account(limit)
        for _ in range(10_000):
            bench.now_us += 50  # half a second in all
            if not account.can_take(1, bench.now_us):
                if account.shortage(1, bench.now_us) is not Shortage.UNKNOWN:
                    continue
                await bench.desk.fetch([(account, 1, 1 + account.target)])
            if account.can_take(1, bench.now_us):
                account.take(1, bench.now_us)
                bench.desk.watch(account)
                admitted += 1
                if kind is LimitKind.REQUESTS:
                    account.settle(1, 1)
        assert 1 <= admitted <= 3
        assert bench.exchanges < 20
        account.settle(account.in_use, 0)


@pytest.mark.parametrize("window", [LimitWindow.DAY, LimitWindow.MINUTE])
async def test_a_hot_key_asks_rarely(database: Database, window: LimitWindow) -> None:
    """Guards against a transaction for each of many calls."""
    limit = await a_limit(database, LimitKind.REQUESTS, 1_000_000, window=window)
    async with a_bench(database) as bench:
        account = bench.account(limit)
        for number in range(1, 1001):
            bench.now_us += 1_000
            if not account.can_take(1, bench.now_us):
                await bench.desk.fetch([(account, 1, 1 + account.target)])
            account.take(1, bench.now_us)
            bench.desk.watch(account)
            account.settle(1, 1)
            if number % 250 == 0:
                bench.desk._tick()
                await bench.settled()
        assert bench.exchanges < 20


async def test_leases_are_lost_here_no_later_than_there(database: Database) -> None:
    """Guards against a worker that counts its ten minutes from when an answer came, and the ledger from when
    it was asked: what came late is spent when others have it already.
    """
    limit = await a_limit(database, LimitKind.TOKENS, 1000)
    async with a_bench(database) as bench:
        account = bench.account(limit)
        bench.database.open.clear()
        fetch = asyncio.create_task(bench.desk.fetch([(account, 100, 100)]))
        while bench.database.writes < 2:
            await asyncio.sleep(0)
        sent_us = bench.now_us
        bench.now_us += 30_000_000  # asked at once, and the answer is half a minute on its way
        bench.database.open.set()
        await fetch
        assert account.available == 100
        assert bench.desk.lost_us == sent_us + LEASES_LOST_S * 1_000_000


async def test_what_was_expired_is_leased_anew_or_not_there(database: Database) -> None:
    """Guards against a worker that was cut off and spends what another has been given since."""
    limit = await a_limit(database, LimitKind.TOKENS, 1000)
    async with a_bench(database) as late, a_bench(database) as other:
        account, theirs = late.account(limit), other.account(limit)
        await late.desk.fetch([(account, 600, 600)])
        account.take(200, late.now_us)
        late.desk.watch(account)
        passed_us = int(LEASES_LOST_S * 1_000_000) + 1_000_000
        async with database.write() as session:
            await session.execute(text("UPDATE lease_holder SET seen_us = seen_us - :by"), {"by": passed_us})
        await other.desk.stop()
        await other.start()
        expired = await database.transact(lambda connection: leases.expire(connection, NOON_US, 100))
        assert expired.leases == 1
        await other.desk.fetch([(theirs, 900, 900)])
        late.now_us += passed_us
        await late.tick(4)
        assert len(late.holders) == 2
        assert theirs.available == 900
        assert account.available + account.in_use == 100  # of the 200 that its calls hold: a debt of the rest
        assert await balance_of(database, account.key) == (0, 1000)
        assert not account.can_take(1, late.now_us)
