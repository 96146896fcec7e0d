"""Exchanges, postings, ends and expiries in any order and at once: the limit holds, nothing is lost."""

import asyncio
import random
from collections.abc import Coroutine
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from sqlalchemy import text

from ledger import leases, limit_settings, tenancy
from ledger.database import Database
from ledger.leases import BalanceKey, Exchanged, HolderUnknown, Return, Wish
from ledger.limit_settings import LimitScope
from ledger.limits import Limit, LimitKind, LimitWindow
from ledger.periods import DAY_US
from ledger.posting import post
from ledger.record import CallRecord, Charge, Entry, HolderEnded
from ledger.terms import Terms
from tests.integration.ledger.balances import balance_of, key_of, register, turns
from tests.records import NOON_US, a_record

MAX = 100
HOLDERS = st.integers(0, 2)


class Worker:
    """What a worker believes to have: free in its hand, and charged to calls that are in its journal."""

    def __init__(self, holder_id: str) -> None:
        self.id = holder_id
        self.free = 0
        self.journal: list[CallRecord] = []


class Ledger(RuleBasedStateMachine):
    """Three workers on one limit of tokens and one of slots, against a real database."""

    url: str

    @initialize()
    def begin(self) -> None:
        self.runner = asyncio.Runner()
        self.database = self.run(self.open())
        self.tenant_id, self.tokens, self.slots = self.run(self.limits())
        self.key, self.slot_key = key_of(self.tokens), key_of(self.slots)
        self.workers = [Worker(self.run(register(self.database))) for _ in range(3)]
        self.used = 0
        self.posted: list[CallRecord] = []

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(work)

    async def open(self) -> Database:
        return Database(self.url)

    async def limits(self) -> tuple[str, Limit, Limit]:
        async with self.database.write() as session:
            tenant = await tenancy.create_tenant(session, "Acme", 1)
            scope = LimitScope(tenant_id=tenant.id)
            tokens = await limit_settings.set_limit(
                session, scope, LimitKind.TOKENS, LimitWindow.DAY, MAX, NOON_US
            )
            slots = await limit_settings.set_limit(session, scope, LimitKind.CONCURRENT, None, 4, NOON_US)
        return tenant.id, tokens, slots

    async def exchange(
        self, worker: Worker, wishes: list[Wish], returns: list[Return], turn: int = 0
    ) -> Exchanged:
        turn = turn or next(turns)
        return await self.database.transact(
            lambda connection: leases.exchange(connection, worker.id, wishes, returns, NOON_US, turn)
        )

    async def deliver(self, *entries: Entry) -> int:
        async with self.database.write() as session:
            return (await post(await session.connection(), entries, Terms(), NOON_US)).inserted

    @rule(who=HOLDERS, least=st.integers(0, 60), more=st.integers(0, 60), back=st.integers(0, 60))
    def trade(self, who: int, least: int, more: int, back: int) -> None:
        worker = self.workers[who]
        back = min(back, worker.free)
        wishes = [Wish(self.slot_key, 1, 2), Wish(self.key, least, least + more)]
        slots, tokens = self.run(self.exchange(worker, wishes, [Return(self.key, back)])).grants
        worker.free += tokens.granted - back
        assert slots.granted in (0, 1, 2)

    @rule(who=HOLDERS, least=st.integers(0, 60), back=st.integers(0, 60))
    def lose_an_answer(self, who: int, least: int, back: int) -> None:
        """The exchange is committed, its answer lost: asked again, the ledger tells what it granted."""
        worker = self.workers[who]
        back = min(back, worker.free)
        turn = next(turns)
        asked = [Wish(self.key, least, least)], [Return(self.key, back)], turn
        (first,) = self.run(self.exchange(worker, *asked)).grants
        again = self.run(self.exchange(worker, *asked))
        assert again.is_repeated
        assert again.granted_before == ({self.key: first.granted} if first.granted else {})
        worker.free += again.granted_before.get(self.key, 0) - back

    @rule(who=HOLDERS, part=st.floats(0, 1))
    def settle(self, who: int, part: float) -> None:
        worker = self.workers[who]
        amount = int(worker.free * part)
        worker.free -= amount
        worker.journal.append(
            a_record(
                tenant_id=self.tenant_id,
                prompt_tokens=amount,
                cached_prompt_tokens=0,
                completion_tokens=0,
                holder_id=worker.id,
                charges=(Charge(*self.key, amount),),
            )
        )

    @rule(who=HOLDERS, again=st.booleans())
    def post(self, who: int, again: bool) -> None:
        worker = self.workers[who]
        fresh, worker.journal = worker.journal[:2], worker.journal[2:]
        late = self.posted[-2:] if again else []
        assert self.run(self.deliver(*fresh, *late)) == len(fresh)
        self.used += sum(record.prompt_tokens for record in fresh)
        self.posted += fresh

    @rule(who=HOLDERS)
    def restart(self, who: int) -> None:
        """Killed: what it had in hand is known to the ledger alone. Its successor ends it."""
        worker = self.workers[who]
        assert self.run(self.deliver(*worker.journal, HolderEnded(worker.id))) == len(worker.journal)
        self.used += sum(record.prompt_tokens for record in worker.journal)
        self.posted += worker.journal
        with pytest.raises(HolderUnknown):
            self.run(self.exchange(worker, [], []))
        self.workers[who] = Worker(self.run(register(self.database)))

    @rule(who=HOLDERS)
    def expire(self, who: int) -> None:
        """Its host is gone with all that was not posted."""
        worker = self.workers[who]

        async def lose() -> None:
            async with self.database.write() as session:
                await session.execute(
                    text("UPDATE lease_holder SET seen_us = 1 WHERE id = :id"), {"id": worker.id}
                )
            await self.database.transact(lambda connection: leases.expire(connection, NOON_US, 100))

        self.run(lose())
        self.workers[who] = Worker(self.run(register(self.database)))

    @invariant()
    def it_adds_up(self) -> None:
        if hasattr(self, "workers"):
            used, leased = self.run(balance_of(self.database, self.key))
            assert used == self.used
            assert used + leased <= MAX
            waiting = sum(record.prompt_tokens for worker in self.workers for record in worker.journal)
            assert leased == sum(worker.free for worker in self.workers) + waiting
            assert self.run(balance_of(self.database, self.slot_key))[1] <= 4

    def teardown(self) -> None:
        """When all is quiet, everything is back."""
        if hasattr(self, "workers"):
            for who in range(3):
                self.restart(who)
            assert self.run(balance_of(self.database, self.key)) == (self.used, 0)
            assert self.run(balance_of(self.database, self.slot_key)) == (0, 0)
            self.run(self.database.close())
            self.runner.close()


def test_any_order_of_exchanges_postings_ends_and_expiries(database_url: str) -> None:
    """Guards against an interleaving that passes a limit, or that loses a unit for good."""

    class OnThis(Ledger):
        url = database_url

    run_state_machine_as_test(
        OnThis,
        settings=settings(
            max_examples=12, stateful_step_count=15, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


@pytest.mark.postgres
async def test_eight_workers_at_once_never_wait_in_a_ring(postgresql_url: str) -> None:
    """Guards against deadlocks between exchanges, postings and ends on the same limits, at the turn of a
    window too, and against an overshoot where they race.
    """
    first = Database(postgresql_url)
    async with first.write() as session:
        tenant = await tenancy.create_tenant(session, "Acme", 1)
        scope = LimitScope(tenant_id=tenant.id)
        days = [
            await limit_settings.set_limit(
                session, scope, LimitKind.TOKENS, LimitWindow.DAY, 60, NOON_US, model=model
            )
            for model in (None, "a", "b", "c")
        ]
        slots = await limit_settings.set_limit(session, scope, LimitKind.CONCURRENT, None, 8, NOON_US)
        rate = await limit_settings.set_limit(
            session, scope, LimitKind.REQUESTS, LimitWindow.MINUTE, 60_000, NOON_US
        )
    worked: list[int] = []

    async def work(seed: int) -> None:
        dice = random.Random(seed)
        database = Database(postgresql_url, pool_size=1)
        holder = await register(database, seed)
        for turn in range(15):
            at_us = NOON_US + turn * DAY_US
            keys = [BalanceKey(limit.id, "", limit.span(at_us)[0]) for limit in days]
            keys = dice.sample([*keys, key_of(slots), BalanceKey(rate.id, "", 0)], dice.randint(2, 6))
            wishes = [Wish(key, 1, dice.randint(1, 20)) for key in keys]
            answer = await database.transact(
                partial(
                    leases.exchange,
                    holder_id=holder,
                    wishes=wishes,
                    returns=[],
                    now_us=NOON_US,
                    turn=next(turns),
                )
            )
            got = {key: grant.granted for key, grant in zip(keys, answer.grants, strict=True)}
            assert not any(grant.is_gone for grant in answer.grants)
            worked.append(got.get(keys[0], 0))
            # A call of model "a" counts on two limits: it may use what its worker has of both.
            both = [BalanceKey(limit.id, "", limit.span(at_us)[0]) for limit in days[:2]]
            tokens = min(got.pop(key, 0) for key in both)
            record = a_record(
                tenant_id=tenant.id,
                model="a",
                started_us=at_us,
                prompt_tokens=tokens,
                cached_prompt_tokens=0,
                completion_tokens=0,
                holder_id=holder,
                charges=tuple(Charge(*key, tokens) for key in both),
            )
            entries: list[Entry] = [record]
            if turn % 4 == 3:
                entries.append(HolderEnded(holder))
            async with database.write() as session:
                await post(await session.connection(), entries, Terms(), NOON_US)
            if turn % 4 == 3:
                holder = await register(database, seed)
            async with database.write() as session:
                returns = [Return(key, amount) for key, amount in got.items()]
                await leases.exchange(await session.connection(), holder, [], returns, NOON_US, next(turns))
            if turn % 5 == 4:
                await database.transact(lambda connection: leases.expire(connection, NOON_US, 100))
        async with database.write() as session:
            await post(await session.connection(), [HolderEnded(holder)], Terms(), NOON_US)
        await database.close()

    await asyncio.gather(*(work(seed) for seed in range(8)))
    assert sum(worked) > 0
    async with first.read() as session:
        rows = list(await session.execute(text("SELECT used, leased FROM limit_balance")))
        held = (await session.execute(text("SELECT count(*) FROM lease"))).scalar_one()
        spent = (await session.execute(text("SELECT sum(prompt_tokens) FROM usage"))).scalar_one()
    assert held == 0
    assert all(leased == 0 and used <= 60 for used, leased in rows)
    assert sum(int(used) for used, _ in rows) == 2 * int(spent)
    await first.close()
