"""The worker's desk for leases: everything this worker asks of the ledger's limits goes through here.

Owns the accounts (`proxy.allowances`), the holder that stands for this worker in the ledger, and the one
exchange that may be under way. Knows nothing of calls. Rules:

- One exchange at a time: who comes meanwhile goes with the next, so that any number of calls that wait for
  one limit cost one transaction.
- Wishes of calls that wait leave at once; what is only renewed or given back leaves at the next tick.
- Nothing waits for a database that does not answer: the wait has an end, and a failed exchange is not tried
  again within RETRY_SECONDS.
- A holder that was given up for dead registers anew, with empty hands.
"""

import asyncio
import logging
import socket
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Final

from ledger import leases
from ledger.database import Database
from ledger.errors import DatabaseFault
from ledger.lease_terms import BalanceKey, Return, Wish
from ledger.leases import HolderUnknown
from ledger.limits import Limit, LimitNature
from proxy.allowances import TICK_US, Account

PATIENCE_SECONDS: Final = 5.0
"""How long a call waits for an exchange."""

RETRY_SECONDS: Final = 0.5
STOP_SECONDS: Final = 3.0

_log = logging.getLogger("metergate.leasing")


class LeasesUnknown(Exception):
    """The ledger did not answer: nobody knows what may be leased."""


class LeaseDesk:
    """Leases for this worker. `now_us` is the clock; `on_holder` is told each holder this worker becomes."""

    def __init__(
        self,
        database: Database,
        worker: int,
        now_us: Callable[[], int],
        on_holder: Callable[[str], None],
        on_exchange: Callable[[bool], None] = lambda is_done: None,
    ) -> None:
        self._database = database
        self._worker = worker
        self._clock = now_us
        self._on_holder = on_holder
        self._on_exchange = on_exchange
        self._accounts: dict[BalanceKey, Account] = {}
        self._active: set[Account] = set()
        self._wishes: dict[Account, tuple[int, int]] = {}
        self._round: asyncio.Future[None] | None = None
        self._due = asyncio.Event()
        self._urgent = False
        self._failed_until_us = 0
        self._seen_us = 0
        self._exchanging = asyncio.Lock()
        self._turn = 0
        self._unsure: list[tuple[Account, int]] | None = None
        """What went back in an exchange that may or may not have been committed."""
        self._tasks: list[asyncio.Task[None]] = []
        self.holder_id = ""

    def now_us(self) -> int:
        """The clock."""
        return self._clock()

    async def start(self) -> None:
        """Registers the holder and begins to work. Raises DatabaseFault."""
        await self._register()
        self._tasks = [asyncio.create_task(self._work()), asyncio.create_task(self._tick_forever())]

    async def stop(self) -> None:
        """Gives everything back that no call holds; what settled calls took is the poster's to move."""
        if not self.holder_id:  # the start never came to it
            return
        try:
            async with asyncio.timeout(STOP_SECONDS), self._exchanging:
                for task in self._tasks:
                    task.cancel()
                for account in self._accounts.values():
                    account.give_up()
                    self.watch(account)
                self._wishes.clear()
                await self._exchange()
        except (DatabaseFault, HolderUnknown, TimeoutError) as fault:
            _log.warning("leases go back when they expire: %s", fault or "the ledger did not answer in time")
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def account(self, limit: Limit, end_user: str, at_us: int) -> Account:
        """The account of a call that starts at `at_us`."""
        from_us, until_us = limit.span(at_us)
        key = BalanceKey(limit.id, limit.user_key(end_user), from_us)
        account = self._accounts.get(key)
        if account is None:
            account = self._accounts[key] = Account(limit, key, until_us)
        elif account.limit != limit:
            account.set_anew(limit)
            self.watch(account)
        return account

    def watch(self, account: Account) -> None:
        """From now on each tick looks at it, until it has been quiet for long, and no call holds of it."""
        account.is_watched = True
        self._active.add(account)

    def ask(self, account: Account, least: int, most: int) -> None:
        """Asks in the background; `Account.granted` is told the answer. Asking twice is asking once."""
        first, known = self._wishes.get(account, (least, 0))
        self._wish(account, first, max(known, most))

    async def fetch(self, wishes: Iterable[tuple[Account, int, int]]) -> None:
        """Asks for (account, least, most), and waits for the answers. Raises LeasesUnknown.

        Who was first is served first: the least that is asked for is theirs.
        """
        if self.now_us() < self._failed_until_us:
            raise LeasesUnknown
        for account, least, most in wishes:
            first, known = self._wishes.get(account, (least, 0))
            self._wish(account, first or least, known + most)
        if self._round is None:
            self._round = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await asyncio.shield(self._round)
        except TimeoutError:
            raise LeasesUnknown from None

    @property
    def is_away(self) -> bool:
        """Whether the ledger failed to answer the last time it was asked."""
        return self._failed_until_us > 0

    # Within.

    def _wish(self, account: Account, least: int, most: int) -> None:
        self._wishes[account] = (least, most)
        self.watch(account)
        self._due.set()

    async def _register(self) -> None:
        async with self._database.write() as session:
            holder_id = await leases.register(session, socket.gethostname(), self._worker, self.now_us())
        self._on_holder(holder_id)
        self.holder_id = holder_id
        self._seen_us = self.now_us()

    async def _work(self) -> None:
        """The exchanges, one after another."""
        while True:
            await self._due.wait()
            self._due.clear()
            done, self._round = self._round, None
            wished = list(self._wishes)
            try:
                async with self._exchanging:
                    await self._exchange()
                if self._failed_until_us:
                    _log.warning("leases are granted again")
                self._failed_until_us = 0
            except HolderUnknown:
                await self._become_anew()
                failed = True
            except DatabaseFault as fault:
                if not self._failed_until_us:
                    _log.warning("no leases: %s", fault)
                failed = True
            except Exception:
                _log.exception("an exchange of leases failed")
                failed = True
            else:
                failed = False
            if failed:
                self._failed_until_us = self.now_us() + int(RETRY_SECONDS * 1e6)
                for account in wished:
                    self._wishes.pop(account, None)
            if done is not None and not done.done():
                if failed:
                    done.set_exception(LeasesUnknown())
                    done.exception()  # somebody may have stopped waiting
                else:
                    done.set_result(None)

    async def _become_anew(self) -> None:
        _log.warning("this worker was given up for dead and its leases were taken: it begins anew")
        for account in self._accounts.values():
            account.lost()
        self._turn, self._unsure = 0, None
        with suppress(DatabaseFault):
            await self._register()

    async def _exchange(self) -> None:
        """What is to go back, and what is wished for; first an exchange whose answer was lost, once more."""
        while self._unsure is not None:
            unsure, self._unsure = self._unsure, None
            await self._turn_of({}, unsure)
        wishes, self._wishes = self._wishes, {}
        returned = [
            (account, account.back) for account in self._active if account.back and not account.is_gone
        ]
        for account, _ in returned:
            account.back = 0
        await self._turn_of(wishes, returned)

    async def _turn_of(
        self, wishes: dict[Account, tuple[int, int]], returned: list[tuple[Account, int]]
    ) -> None:
        """One transaction. Where it fails, nobody knows whether it was committed: it is `_unsure`."""
        sent_us = self.now_us()
        try:
            async with self._database.write() as session:
                answer = await leases.exchange(
                    session,
                    self.holder_id,
                    [Wish(account.key, *wish) for account, wish in wishes.items()],
                    [Return(account.key, amount) for account, amount in returned],
                    sent_us,
                    self._turn + 1,
                )
        except BaseException:
            self._unsure = returned
            self._on_exchange(False)
            raise
        self._on_exchange(True)
        self._turn += 1
        now_us = self.now_us()
        if now_us - self._seen_us > leases.SLOTS_LOST_S * 1e6:
            self._drop_slots()
        self._seen_us = now_us
        if answer.is_repeated:
            return
        ahead_us = answer.now_us - sent_us
        for (account, (least, _)), grant in zip(wishes.items(), answer.grants, strict=True):
            account.granted(grant, least, sent_us, now_us, ahead_us)
            if account.is_gone:
                self._accounts.pop(account.key, None)

    def _drop_slots(self) -> None:
        """We were silent for so long that others may have our slots."""
        for account in self._accounts.values():
            if account.nature is LimitNature.SLOTS:
                account.lost()

    async def _tick_forever(self) -> None:
        while True:
            await asyncio.sleep(TICK_US / 1e6)
            self._tick()

    def _tick(self) -> None:
        now_us = self.now_us()
        if now_us - self._seen_us > leases.LEASES_LOST_S * 1e6:
            for account in self._accounts.values():
                account.lost()  # we were silent for so long that others may have it
        returns = False
        for account in list(self._active):
            wanted = account.tick(now_us)
            if wanted > 0 and now_us >= self._failed_until_us:
                self.ask(account, 0, wanted)
            returns = returns or account.back != 0
            if account.is_quiet(now_us):
                self._active.discard(account)
                account.is_watched = False
                self._accounts.pop(account.key, None)
        if returns or now_us - self._seen_us > leases.HEARTBEAT_S * 1e6:
            self._due.set()
