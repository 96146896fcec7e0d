"""Admission by limits, without HTTP: a real desk on a real SQLite ledger, engines that only count prompts."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from ledger import limit_settings, tenancy
from ledger.database import Database
from ledger.leases import LEASES_LOST_S
from ledger.limit_settings import LimitScope
from ledger.limits import EACH_USER, Limit, LimitKind, LimitWindow
from ledger.money import Rates
from ledger.principal import Principal
from ledger.usage import Usage
from proxy.admission import Admission, Limits
from proxy.allowances import TICK_US
from proxy.backends import Backends
from proxy.call import Call, read_call
from proxy.endpoints import CHAT
from proxy.errors import LedgerUnavailable, QuotaExhausted, RateLimited
from proxy.fields import Limits as FieldLimits
from proxy.hold import Hold
from proxy.plans import Plan, PlanBook
from tests.desks import Bench
from tests.records import NOON_US

CONTEXT = 4096
MIDNIGHT_US = NOON_US + 12 * 3_600_000_000
RATES = Rates(1_000_000, 1_000_000, 1_000_000)  # a token is 1e6 picos


class Engines:
    """What admission knows of the engines: how long a context is."""

    def context_tokens(self, model: str) -> int | None:
        return CONTEXT


class Gate:
    """One worker's admission."""

    def __init__(self, bench: Bench, tenant_id: str, limits: list[Limit]) -> None:
        self.bench = bench
        self.principal = Principal(
            tenant_id, "proj-1", "key-1", "active", "active", "active", None, limits=tuple(limits)
        )
        self.prompt: int | None = 10
        self.counted = self.alone = 0
        self.rates: Rates | None = RATES
        self.price_until_us = 2**62
        self.plans = PlanBook(bench.desk.account, lambda *_: (self.rates, self.price_until_us))
        parts = Limits(bench.desk, self.plans, self._count, "USD", lambda limit: None, self._noted)
        self.admission = Admission(
            cast(Backends, Engines()),
            parts,
            has_room=lambda: True,
            is_priced=lambda *_: True,
            refuse_unpriced=False,
        )

    def _noted(self) -> None:
        self.alone += 1

    async def _count(self, call: Call) -> int | None:
        self.counted += 1
        return self.prompt

    def plan(self, call: Call) -> Plan:
        plan = self.admission.plan(self.principal, call, self.bench.now_us)
        assert plan is not None
        return plan

    async def admit(self, call: Call) -> tuple[Call, Hold]:
        """What DataPlane does."""
        plan = self.plan(call)
        hold = self.admission.take(plan, call, 200)
        return (call, hold) if hold is not None else await self.admission.obtain(plan, call, 200)


def chat(**fields: Any) -> Call:
    body = {"model": "m", "messages": [{"role": "user", "content": "Hello"}], **fields}
    return read_call(CHAT, json.dumps(body).encode(), FieldLimits())


Setting = tuple[LimitKind, LimitWindow | None, int]


@asynccontextmanager
async def a_gate(
    ledger: Database, *settings: Setting, at_us: int = NOON_US, **fields: Any
) -> AsyncIterator[Gate]:
    async with ledger.write() as session:
        tenant = await tenancy.create_tenant(session, "Acme", 1)
        limits = [
            await limit_settings.set_limit(
                session, LimitScope(tenant_id=tenant.id), *setting, NOON_US, **fields
            )
            for setting in settings
        ]
    bench = Bench(ledger)
    bench.now_us = at_us
    await bench.start()
    try:
        yield Gate(bench, tenant.id, limits)
    finally:
        await bench.desk.stop()


DAY, MINUTE, LIFETIME = LimitWindow.DAY, LimitWindow.MINUTE, LimitWindow.LIFETIME


@pytest.mark.parametrize("kind", [LimitKind.TOKENS, LimitKind.REQUESTS, LimitKind.SPEND])
async def test_a_limit_of_nothing_refuses_for_good_and_asks_once(ledger: Database, kind: LimitKind) -> None:
    """Guards against a flood on an empty budget that reaches the database or an engine."""
    async with a_gate(ledger, (kind, DAY, 0)) as gate:
        for _ in range(1000):
            with pytest.raises(QuotaExhausted):
                await gate.admit(chat(max_tokens=5))
        assert gate.bench.exchanges == 1
        assert gate.counted == 0


async def test_a_call_larger_than_its_budget_is_capped_or_refused_at_once(ledger: Database) -> None:
    """Guards against a call told to come again that can never pass, and against one refused that can."""
    async with a_gate(ledger, (LimitKind.TOKENS, LIFETIME, 100)) as gate:
        call, hold = await gate.admit(chat(max_tokens=3000))
        assert call.fields["max_tokens"] == 90
        hold.release()
        gate.prompt = 100
        with pytest.raises(QuotaExhausted):
            await gate.admit(chat(max_tokens=3000))


async def test_a_call_larger_than_a_rate_needs_a_full_bucket(ledger: Database) -> None:
    """Guards against a call that no rate ever lets pass."""
    async with a_gate(ledger, (LimitKind.TOKENS, MINUTE, 60)) as gate:
        _, hold = await gate.admit(chat(max_tokens=3000))
        hold.settle(Usage(10, 0, 20))
        with pytest.raises(RateLimited):
            await gate.admit(chat(max_tokens=1))


@pytest.mark.parametrize("stream", [False, True])
async def test_a_capped_call_fits_the_models_context(ledger: Database, stream: bool) -> None:
    """Guards against a cap that the engine refuses: the prompt and max_tokens pass its context."""
    async with a_gate(ledger, (LimitKind.TOKENS, LIFETIME, 4_400)) as gate:
        gate.prompt = 4_000
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("proxy.admission.bounds.prompt_tokens_max", lambda *_: 4_096)
            call, _ = await gate.admit(chat(stream=stream))
        assert call.fields.get("max_tokens", 96) <= 96


async def test_every_choice_is_held_and_capped(ledger: Database) -> None:
    """Guards against n answers on the budget of one."""
    async with a_gate(ledger, (LimitKind.TOKENS, LIFETIME, 100)) as gate:
        call, hold = await gate.admit(chat(max_tokens=3000, n=4))
        assert call.fields["max_tokens"] == 22
        (account,) = [term.account for term in gate.plan(call).hard]
        assert 10 + 4 * 22 <= account.in_use <= 100
        hold.release()
        assert account.in_use == 0


async def test_what_one_limit_refuses_keeps_nothing_of_the_others(ledger: Database) -> None:
    """Guards against tokens on lease for calls that a limit on requests refuses."""
    async with a_gate(ledger, (LimitKind.TOKENS, LIFETIME, 5000), (LimitKind.REQUESTS, DAY, 0)) as gate:
        call = chat(max_tokens=100)
        with pytest.raises(QuotaExhausted):
            await gate.admit(call)
        await gate.bench.tick(2)
        assert [term.account.available + term.account.in_use for term in gate.plan(call).hard] == [0, 0]
        exchanges = gate.bench.exchanges
        for _ in range(1000):
            with pytest.raises(QuotaExhausted):
                await gate.admit(call)
        assert gate.bench.exchanges == exchanges


async def test_waiting_calls_on_the_last_requests_are_all_admitted_that_fit(ledger: Database) -> None:
    """Guards against calls refused for want of rounds while what they want is free."""
    async with a_gate(ledger, (LimitKind.REQUESTS, DAY, 64)) as gate:
        done = await asyncio.gather(
            *(gate.admit(chat(max_tokens=1)) for _ in range(80)), return_exceptions=True
        )
        assert sum(isinstance(one, tuple) for one in done) == 64
        assert all(isinstance(one, tuple | RateLimited | QuotaExhausted) for one in done)


async def test_a_call_that_waits_is_not_refused_for_those_that_do_not(ledger: Database) -> None:
    """Guards against a 429 while thousands of slots are free: what a call waits for, others take each time
    before it is its turn.
    """
    async with a_gate(ledger, (LimitKind.CONCURRENT, None, 10_000)) as gate:
        taken: list[Hold | None] = []

        def comes_between(is_done: bool) -> None:
            asyncio.get_running_loop().call_soon(
                lambda: taken.append(gate.admission.take(gate.plan(chat()), chat(), 200))
            )

        gate.bench.desk._on_exchange = comes_between
        _, hold = await gate.admit(chat(max_tokens=1))
        hold.release()
        assert len(taken) < 4


async def test_a_call_before_midnight_counts_before_midnight(ledger: Database) -> None:
    """Guards against a plan kept past its window, and against a charge to a window that posting is not in."""
    async with a_gate(ledger, (LimitKind.REQUESTS, DAY, 1), at_us=MIDNIGHT_US - 100_000) as gate:
        _, before = await gate.admit(chat(max_tokens=1))
        with pytest.raises(RateLimited):
            await gate.admit(chat(max_tokens=1))
        gate.bench.now_us = MIDNIGHT_US
        _, after = await gate.admit(chat(max_tokens=1))
        (charge,), (later,) = before.settle(Usage(1, 0, 1)), after.settle(Usage(1, 0, 1))
        assert charge.window_us == NOON_US - 12 * 3_600_000_000
        assert later.window_us == MIDNIGHT_US


async def test_a_stream_goes_on_across_midnight(ledger: Database) -> None:
    """Guards against a stream that is ended because the window it began in is over."""
    async with a_gate(ledger, (LimitKind.TOKENS, DAY, 10_000), at_us=MIDNIGHT_US - 1_000_000) as gate:
        _, hold = await gate.admit(chat(stream=True, max_tokens=2000))
        for tokens in range(1, 301):
            gate.bench.now_us += 100_000
            if tokens >= hold.trigger:
                assert hold.grow(10, tokens), tokens
                await gate.bench.settled()
            if tokens % 3 == 0:
                gate.bench.now_us -= TICK_US
                await gate.bench.tick()
        (charge,) = hold.settle(Usage(10, 0, 300))
        assert (charge.amount, charge.window_us) == (310, NOON_US - 12 * 3_600_000_000)


async def test_a_price_that_begins_is_held_from_its_moment(ledger: Database) -> None:
    """Guards against calls that hold for the old price and are posted at the new one."""
    async with a_gate(ledger, (LimitKind.SPEND, LIFETIME, 10**12)) as gate:
        gate.price_until_us = NOON_US + 1000
        _, hold = await gate.admit(chat(max_tokens=10))
        hold.release()
        gate.rates = Rates(2_000_000, 2_000_000, 2_000_000)
        assert gate.plan(chat()).hard[0].per_completion == 1_000_000
        gate.bench.now_us = NOON_US + 1000
        gate.price_until_us = 2**62
        assert gate.plan(chat()).hard[0].per_completion == 2_000_000


async def test_a_soft_limit_stops_nobody(ledger: Database) -> None:
    """Guards against a soft limit that refuses, or waits for the ledger."""
    settings: list[Setting] = [
        (LimitKind.CONCURRENT, None, 1),
        (LimitKind.REQUESTS, MINUTE, 1),
        (LimitKind.TOKENS, DAY, 1),
    ]
    async with a_gate(ledger, *settings, soft=True) as gate:
        for _ in range(20):
            assert gate.admission.take(gate.plan(chat()), chat(), 200) is not None
            await gate.bench.settled()


async def test_plans_and_accounts_of_many_users_are_bounded(
    ledger: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards against memory that grows with each name of a user that is made up."""
    monkeypatch.setattr("proxy.plans.PLANS_MAX", 50)
    async with a_gate(ledger, (LimitKind.REQUESTS, DAY, 5), end_user=EACH_USER) as gate:
        for number in range(500):
            gate.plan(chat(user=f"user-{number}"))
        assert len(gate.plans._plans) == 50
        assert len(gate.bench.desk._accounts) <= 51
        assert len(gate.bench.desk._active) == 0


async def test_a_ledger_that_is_away_refuses_and_leaves_nothing_held(ledger: Database) -> None:
    """Guards against a call let in on no lease, and a hold of a call that was refused."""
    async with a_gate(ledger, (LimitKind.REQUESTS, DAY, 5)) as gate:
        gate.bench.database.before = 1
        with pytest.raises(LedgerUnavailable):
            await gate.admit(chat(max_tokens=1))
        assert gate.plan(chat()).hard[0].account.in_use == 0


async def test_a_cancelled_call_holds_nothing(ledger: Database) -> None:
    """Guards against units in the hands of a client that left while the ledger was asked."""
    async with a_gate(ledger, (LimitKind.REQUESTS, DAY, 5)) as gate:
        gate.bench.database.open.clear()
        task = asyncio.create_task(gate.admit(chat(max_tokens=1)))
        while gate.bench.database.writes < 2:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        gate.bench.database.open.set()
        await gate.bench.settled()
        await gate.bench.tick(3)
        account = gate.plan(chat()).hard[0].account
        assert (account.available, account.in_use, account.back) == (0, 0, 0)


async def test_who_stood_still_admits_nothing_out_of_what_it_had(ledger: Database) -> None:
    """Guards against money spent twice by a process that was stopped, or a machine that slept: its next call
    comes before its next tick, and its leases are somebody else's by then.
    """
    lost_us, call = int(LEASES_LOST_S * 1_000_000), chat(max_tokens=10)
    async with a_gate(ledger, (LimitKind.SPEND, LimitWindow.LIFETIME, 10**12)) as gate:
        plan, begun_us = gate.plan(call), gate.bench.now_us
        account = plan.hard[0].account
        await gate.bench.desk.fetch([(account, 10**10, 10**10)])
        gate.bench.now_us = begun_us + lost_us
        assert gate.admission.take(plan, call, 200) is not None
        gate.bench.now_us += 1
        assert gate.admission.take(plan, call, 200) is None
        assert account.available == -account.in_use < 0

    async with a_gate(ledger, (LimitKind.SPEND, LimitWindow.LIFETIME, 10**12)) as gate:
        account = gate.plan(call).hard[0].account
        _, running = await gate.admit(chat(max_tokens=1000, stream=True))
        running.follow(10, 40, 1000, 1)
        await gate.bench.desk.fetch([(account, 10**10, 10**10)])
        held = account.in_use
        gate.bench.now_us += lost_us + 1
        running.grow(10, 39)
        assert account.in_use <= held
        assert account.available == -account.in_use
