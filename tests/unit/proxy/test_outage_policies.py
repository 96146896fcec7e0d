"""What becomes of calls past the leases in hand while the ledger does not answer."""

import asyncio
from dataclasses import replace

import pytest

from ledger.database import Database
from ledger.limits import LimitKind, LimitWindow
from ledger.states import OutagePolicy
from ledger.usage import Usage
from proxy.errors import LedgerUnavailable, QuotaExhausted, RateLimited
from proxy.leasing import PATIENCE_SECONDS
from tests.unit.proxy.test_admission_limits import Gate, a_gate, chat

DAY, MINUTE, LIFETIME = LimitWindow.DAY, LimitWindow.MINUTE, LimitWindow.LIFETIME
FOR_EVER = 1 << 30


def fail_open(gate: Gate) -> None:
    gate.principal = replace(gate.principal, outage_policy=OutagePolicy.FAIL_OPEN)


async def come_back(gate: Gate) -> None:
    gate.bench.database.before = 0
    gate.bench.now_us += 600_000
    await gate.bench.tick(2)
    assert not gate.bench.desk.is_away


@pytest.mark.parametrize("kind", [LimitKind.TOKENS, LimitKind.SPEND, LimitKind.REQUESTS])
async def test_past_its_leases_a_tenant_that_fails_open_is_admitted(
    ledger: Database, kind: LimitKind
) -> None:
    """Guards against an outage of the ledger that is one of the engines, too, and against charges for what
    nobody leased: they would be taken from another call's lease.
    """
    async with a_gate(ledger, (kind, LIFETIME, 10**12)) as gate:
        gate.bench.database.before = FOR_EVER
        with pytest.raises(LedgerUnavailable):
            await gate.admit(chat(max_tokens=5))
        fail_open(gate)
        holds = [(await gate.admit(chat(max_tokens=5)))[1] for _ in range(20)]
        assert gate.alone == 20
        assert [hold.settle(Usage(5, 0, 5)) for hold in holds] == [()] * 20
        (account,) = [term.account for term in gate.plan(chat()).hard]
        assert (account.available, account.in_use, account.back) == (0, 0, 0)
        gate.bench.now_us += 61_000_000
        await gate.bench.tick(2)
        assert account not in gate.bench.desk._active
        await come_back(gate)


async def test_leases_in_hand_are_used_first_and_charged(ledger: Database) -> None:
    """Guards against units that stay leased although the calls that used them are posted."""
    async with a_gate(ledger, (LimitKind.REQUESTS, LIFETIME, 1000)) as gate:
        fail_open(gate)
        _, first = await gate.admit(chat())
        (account,) = [term.account for term in gate.plan(chat()).hard]
        await gate.bench.desk.fetch([(account, 3, 3)])
        in_hand = account.available
        assert in_hand >= 3
        gate.bench.database.before = FOR_EVER
        holds = [first, *[(await gate.admit(chat()))[1] for _ in range(in_hand + 5)]]
        charges = [hold.settle(Usage(1, 0, 1)) for hold in holds]
        assert sum(charge.amount for each in charges for charge in each) == in_hand + 1
        assert gate.alone == 5
        await come_back(gate)


async def test_running_calls_are_leased_again_when_the_ledger_is_back(ledger: Database) -> None:
    """Guards against calls that were admitted alone and are unknown to the limit for as long as they run."""
    async with a_gate(ledger, (LimitKind.CONCURRENT, None, 3)) as gate:
        fail_open(gate)
        gate.bench.database.before = FOR_EVER
        holds = [(await gate.admit(chat()))[1] for _ in range(3)]
        with pytest.raises(RateLimited, match="in flight"):
            await gate.admit(chat())
        await come_back(gate)
        (account,) = [term.account for term in gate.plan(chat()).hard]
        assert account.balance is not None and account.balance.leased == 3
        for hold in holds:
            hold.release()
        _, hold = await gate.admit(chat())
        hold.release()
        assert gate.alone == 3


async def test_a_rate_is_kept_by_each_worker_and_owes_nothing_afterwards(ledger: Database) -> None:
    """Guards against a flood on the engines during an outage, and against hours of it to be paid back."""
    async with a_gate(ledger, (LimitKind.REQUESTS, MINUTE, 60)) as gate:
        fail_open(gate)
        gate.bench.database.before = FOR_EVER
        begun_us, admitted = gate.bench.now_us, 0
        while gate.bench.now_us < begun_us + 120_000_000:
            try:
                _, hold = await gate.admit(chat())
                hold.settle(Usage(1, 0, 1))
                admitted += 1
            except RateLimited as refused:
                assert refused.retry_after_ms is not None and refused.retry_after_ms <= 10_000
            gate.bench.now_us += 100_000
        assert 120 <= admitted <= 120 + 11
        await come_back(gate)
        _, hold = await gate.admit(chat())
        hold.settle(Usage(1, 0, 1))
        assert gate.alone == admitted


async def test_tokens_by_the_minute_are_counted_exactly_alone_too(ledger: Database) -> None:
    """Guards against answers that cost a rate what was guessed of them."""
    async with a_gate(ledger, (LimitKind.TOKENS, MINUTE, 6000)) as gate:
        fail_open(gate)
        gate.bench.database.before = FOR_EVER
        _, hold = await gate.admit(chat(max_tokens=900))
        hold.settle(Usage(50, 0, 50))
        (account,) = [term.account for term in gate.plan(chat()).hard]
        assert account.rate is not None
        free = account.rate.free(account.tat_us, gate.bench.now_us)
        assert abs(free - (account.rate.capacity - 100)) <= 2
        assert account.back == 0
        _, hold = await gate.admit(chat(max_tokens=10))
        hold.settle(Usage(50, 0, 2000))
        assert account.rate.free(account.tat_us, gate.bench.now_us) == 0
        await come_back(gate)


async def test_what_is_known_to_be_used_up_stays_refused(ledger: Database) -> None:
    """Guards against an outage that opens budgets which were empty before it."""
    async with a_gate(ledger, (LimitKind.TOKENS, DAY, 0)) as gate:
        fail_open(gate)
        with pytest.raises(QuotaExhausted):
            await gate.admit(chat(max_tokens=5))
        gate.bench.database.before = FOR_EVER
        gate.bench.now_us += 31_000_000
        await gate.bench.tick(2)
        assert gate.bench.desk.is_away
        with pytest.raises(QuotaExhausted):
            await gate.admit(chat(max_tokens=5))
        assert gate.alone == 0
        await come_back(gate)


async def test_of_several_limits_all_or_none_is_taken_alone(ledger: Database) -> None:
    """Guards against a budget that is overdrawn by calls which a rate refuses."""
    async with a_gate(ledger, (LimitKind.TOKENS, LIFETIME, 10**6), (LimitKind.CONCURRENT, None, 1)) as gate:
        fail_open(gate)
        gate.bench.database.before = FOR_EVER
        _, hold = await gate.admit(chat(max_tokens=5))
        tokens, slots = [term.account for term in gate.plan(chat()).hard]
        before = (tokens.in_use, slots.in_use)
        with pytest.raises(RateLimited):
            await gate.admit(chat(max_tokens=5))
        assert (tokens.in_use, slots.in_use) == before
        hold.release()
        await come_back(gate)


async def test_a_stream_outlives_the_outage_that_it_overran(ledger: Database) -> None:
    """Guards against streams that ran on without the ledger and are all ended in the moment it is back,
    before it has answered what they ask for.
    """
    async with a_gate(ledger, (LimitKind.TOKENS, LIFETIME, 100_000)) as gate:
        _, hold = await gate.admit(chat(stream=True, max_tokens=3000))
        gate.bench.database.before = FOR_EVER
        gate.bench.now_us += 31_000_000
        await gate.bench.tick(2)
        assert gate.bench.desk.is_away
        assert hold.grow(10, 900)
        gate.bench.database.before = 0
        gate.bench.now_us += 600_000
        gate.bench.desk._tick()
        await gate.bench.settled()
        assert not gate.bench.desk.is_away
        assert hold.grow(10, 910), "its answer is still out"
        await gate.bench.settled()
        assert hold.grow(10, 920)
        assert hold.covered > 920


async def test_calls_hardly_wait_for_a_ledger_that_hangs(ledger: Database) -> None:
    """Guards against seconds of waiting for each call while every exchange hangs until its time is up."""
    async with a_gate(ledger, (LimitKind.REQUESTS, LIFETIME, 1000)) as gate:
        fail_open(gate)
        database = gate.bench.database
        database.open.clear()
        gate.bench.desk._due.set()
        writes = database.writes
        while database.writes == writes:
            await asyncio.sleep(0)
        gate.bench.now_us += int(PATIENCE_SECONDS * 1e6) + 1
        gate.bench.desk._tick()
        assert gate.bench.desk.is_away
        gate.bench.now_us += 600_000
        _, hold = await asyncio.wait_for(gate.admit(chat()), 1)
        hold.release()
        assert gate.alone == 1
        database.open.set()
        await gate.bench.settled()
        assert not gate.bench.desk.is_away
