"""The worker's desk for leases: everything this worker asks of the ledger's limits goes through here.

Owns the accounts (`proxy.allowances`), the holder that stands for this worker in the ledger, and the one
exchange that may be under way. Knows nothing of calls. Rules:

- One exchange at a time: who comes meanwhile goes with the next, so that any number of calls that wait for
  one limit cost one transaction.
- Wishes of calls that wait leave at once; what is only renewed or given back leaves at the next tick.
- Nothing waits for a database that does not answer: the wait has an end, a failed exchange is not tried
  again within RETRY_SECONDS, and while the ledger is known to be away calls hardly wait at all.
- A holder that was given up for dead registers anew, with empty hands; what its running calls hold is
  leased again.
- An exchange whose answer was lost is made once more under its number, before any other: what it granted, if
  it was made, goes back.
- Where it is in doubt which slots are ours (the ledger has not heard of us for long), all go back and those
  in use are leased again, in one exchange.
- An account lives as long as a plan, a running call or an exchange has to do with it.
"""

import asyncio
import logging
import socket
from collections.abc import Callable, Iterable
from typing import Final
from weakref import WeakValueDictionary

from ledger import leases
from ledger.direct_database import DirectDatabase
from ledger.errors import DatabaseFault, JournalFault
from ledger.lease_terms import BalanceKey, Return, Wish
from ledger.leases import HolderUnknown
from ledger.limits import Limit, LimitNature
from ledger.pause import pause, to_beat
from proxy.allowances import TICK_US, Account

PATIENCE_SECONDS: Final = 5.0
"""How long a call waits for an exchange; one that takes longer counts as failed until it is done."""

PROBE_SECONDS: Final = 0.25
"""How long a call waits for it while the last one has failed."""

CALM_HEARTBEAT_S: Final = 30.0
"""How often a worker without slots says that it lives: nobody takes its other leases for ten minutes."""

CALM_TICK_S: Final = 1.0
"""How often a worker without any account looks whether a heartbeat is due."""

LATE_FADES: Final = 0.9
"""What is remembered of a late answer at each that comes in time."""

RETRY_SECONDS: Final = 0.5
NEVER: Final = 1 << 62
EVERYTHING: Final = 1 << 62
"""A return of so much is one of all that the holder has."""

STOP_SECONDS: Final = 3.0

_LEASES_LOST_US: Final = int(leases.LEASES_LOST_S * 1_000_000)

_log = logging.getLogger("metergate.leasing")


_Wished = tuple[int, int, int]
"""Of one account: the least that is of use to who was first, what all who wait need, the most."""

_NONE: Final[_Wished] = (0, 0, 0)

_Turn = tuple[list[Account], list[tuple[Account, int]]]
"""Of an exchange: the accounts that wished, but for rates, and what was given back."""


class LeasesUnknown(Exception):
    """The ledger did not answer: nobody knows what may be leased."""


class LeaseDesk:
    """Leases for this worker. `now_us` is the clock; `on_holder` is told each holder this worker becomes."""

    def __init__(
        self,
        database: DirectDatabase,
        worker: int,
        now_us: Callable[[], int],
        on_holder: Callable[[str], None],
        on_exchange: Callable[[bool], None] = lambda is_done: None,
    ) -> None:
        self._database = database
        self._worker = worker
        self.now_us: Final = now_us
        """The clock."""
        self._on_holder = on_holder
        self._on_exchange = on_exchange
        self._accounts: WeakValueDictionary[BalanceKey, Account] = WeakValueDictionary()
        self._active: set[Account] = set()
        self._wishes: dict[Account, _Wished] = {}
        self._round: asyncio.Future[None] | None = None
        self._due = asyncio.Event()
        self._watching = asyncio.Event()
        self._failed_until_us = 0
        self._begun_us = 0
        """When the exchange that is under way began; 0: none is."""
        self.late_s = 0.0
        """How long the ledger's answers lately took at the most."""
        self.away_since_us = 0
        """Since when the ledger grants nothing; 0: it does."""
        self._seen_us = 0
        """When we sent what the ledger last heard of us: it counts from no earlier."""
        self.lost_us = NEVER
        """From then on others may have what we have on lease: `lose` it. NEVER: nothing is left to lose."""
        self._exchanging = asyncio.Lock()
        self._turn = 0
        self._unsure: _Turn | None = None
        """An exchange that may or may not have been committed."""
        self._is_in_doubt = False
        """Which slots are ours."""
        self._tasks: list[asyncio.Task[None]] = []
        self.holder_id = ""

    async def start(self) -> None:
        """Registers the holder and begins to work. Raises DatabaseFault."""
        await self._register()
        self._tasks = [asyncio.create_task(self._work()), asyncio.create_task(self._tick_forever())]

    async def stop(self) -> None:
        """Gives everything back that no call holds; what settled calls took is the poster's to move."""
        try:
            if not self._tasks:  # the start never came to it
                return
            async with asyncio.timeout(STOP_SECONDS), self._exchanging:
                for task in self._tasks:
                    task.cancel()
                for account in self._active:
                    account.give_up()
                self._wishes.clear()
                if self.holder_id:
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
        self._watching.set()

    def ask(self, account: Account, least: int, most: int) -> None:
        """Asks in the background; `Account.granted` is told the answer. Asking twice is asking once."""
        first, need, known = self._wishes.get(account, _NONE)
        self._wish(account, first or least, max(need, least), max(known, most))

    async def fetch(self, wishes: Iterable[tuple[Account, int, int]]) -> None:
        """Asks for (account, least, most), and waits for the answers. Raises LeasesUnknown.

        Who was first is served first: the least that is asked for is theirs.
        """
        patience = PATIENCE_SECONDS
        if self._failed_until_us:
            patience, now_us = PROBE_SECONDS, self.now_us()
            is_stuck = 0 < self._begun_us <= now_us - int(PROBE_SECONDS * 1e6)
            if now_us < self._failed_until_us or is_stuck:
                raise LeasesUnknown
        for account, least, most in wishes:
            first, need, known = self._wishes.get(account, _NONE)
            self._wish(account, first or least, need + least, known + most)
        if self._round is None:
            self._round = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(patience):
                await asyncio.shield(self._round)
        except TimeoutError:
            self._fail(f"no answer within {patience} s")
            raise LeasesUnknown from None

    def lose(self) -> None:
        """Nothing is in our hands any more, and what running calls hold is not on lease."""
        self.lost_us = NEVER
        for account in self._active:
            account.lost()

    @property
    def is_away(self) -> bool:
        """Whether the ledger failed to answer the last time it was asked, or has not for too long now."""
        return self._failed_until_us > 0

    # Within.

    def _wish(self, account: Account, least: int, need: int, most: int) -> None:
        self._wishes[account] = (least, need, most)
        self.watch(account)
        self._due.set()

    async def _register(self) -> None:
        host, now_us = socket.gethostname(), self.now_us()
        holder_id = await self._database.transact(
            lambda connection: leases.register(connection, host, self._worker, now_us)
        )
        self._on_holder(holder_id)
        self.holder_id = holder_id
        self._heard(now_us)

    async def _work(self) -> None:
        """The exchanges, one after another."""
        while True:
            await self._due.wait()
            self._due.clear()
            done, self._round = self._round, None
            is_done = self.now_us() >= self._failed_until_us and await self._attempt()
            if not is_done:
                self._wishes.clear()  # who still wants something says so again
            if done is not None and not done.done():
                if is_done:
                    done.set_result(None)
                else:
                    done.set_exception(LeasesUnknown())
                    done.exception()  # somebody may have stopped waiting

    async def _attempt(self) -> bool:
        """One exchange; whether it was made."""
        self._begun_us = self.now_us()
        try:
            async with self._exchanging:
                await self._exchange()
        except HolderUnknown:
            if await self._become_anew():
                self._failed_until_us = self.now_us()
                self._due.set()
        except DatabaseFault as fault:
            self._fail(str(fault))
        except Exception:
            _log.exception("an exchange of leases failed")
            self._fail("see above")
        else:
            if self._failed_until_us:
                _log.warning("leases are granted again")
            self._failed_until_us = self.away_since_us = 0
            return True
        finally:
            self._begun_us = 0
        return False

    def _fail(self, why: str) -> None:
        """The ledger does not answer: nobody waits for it, and it is asked again after a while."""
        now_us = self.now_us()
        if not self._failed_until_us:
            self.away_since_us = now_us
            _log.warning("no leases: %s", why)
        self._failed_until_us = now_us + int(RETRY_SECONDS * 1e6)

    async def _become_anew(self) -> bool:
        """Whether we are somebody again."""
        if self.holder_id:
            _log.warning("this worker was given up for dead and its leases were taken: it begins anew")
        self.holder_id = ""
        self.lose()
        self._turn, self._unsure = 0, None
        try:
            await self._register()
        except (DatabaseFault, JournalFault) as fault:
            self._fail(f"it cannot begin: {fault}")
            return False
        return True

    async def _exchange(self) -> None:
        """What is to go back, and what is wished for; first an exchange whose answer was lost, once more."""
        if self._silent_us > _LEASES_LOST_US:
            raise HolderUnknown("silent for too long")
        while self._unsure is not None:
            (wished, returned), self._unsure = self._unsure, None
            await self._turn_of(dict.fromkeys(wished, _NONE), returned)
        wishes, self._wishes = self._wishes, {}
        for account in self._active:
            if debt := account.debt:
                least, need, most = wishes.get(account, _NONE)
                wishes[account] = (least, max(need, debt), max(most, debt))
        for account, (least, need, most) in wishes.items():
            ahead = need + account.target if need else 0
            wishes[account] = (least, need, max(most, ahead, account.awaited))
        returned = [
            (account, account.back) for account in self._active if account.back and not account.is_gone
        ]
        for account, _ in returned:
            account.back = 0
        is_in_doubt, self._is_in_doubt = self._is_in_doubt, False
        if is_in_doubt:
            slots = [account for account in self._active if account.nature is LimitNature.SLOTS]
            for account in slots:
                _, need, most = wishes.get(account, _NONE)
                wishes[account] = (0, max(need, account.in_use), max(most, account.in_use))
            returned += [(account, EVERYTHING) for account in slots]
        try:
            await self._turn_of(wishes, returned)
        except BaseException:
            self._is_in_doubt |= is_in_doubt
            raise

    async def _turn_of(self, wishes: dict[Account, _Wished], returned: list[tuple[Account, int]]) -> None:
        """One transaction. Where it fails, nobody knows whether it was committed: it is `_unsure`."""
        sent_us = self.now_us()
        asked = [Wish(account.key, least, most, need) for account, (least, need, most) in wishes.items()]
        given = [Return(account.key, amount) for account, amount in returned]
        holder_id, turn = self.holder_id, self._turn + 1
        try:
            answer = await self._database.transact(
                lambda connection: leases.exchange(connection, holder_id, asked, given, sent_us, turn)
            )
        except BaseException:
            self._unsure = ([account for account in wishes if account.rate is None], returned)
            self._on_exchange(False)
            raise
        self._on_exchange(True)
        self._turn += 1
        now_us = self.now_us()
        self.late_s = max((now_us - sent_us) / 1e6, self.late_s * LATE_FADES)
        silent_us = self._silent_us
        self._heard(sent_us)
        is_doubtful = silent_us > leases.SLOTS_LOST_S * 1e6 and self._has_slots
        ahead_us = answer.now_us - sent_us
        for (account, (least, _, _)), grant in zip(
            wishes.items(), answer.grants, strict=not answer.is_repeated
        ):
            account.granted(grant, least, sent_us, now_us, ahead_us)
        for account in wishes if answer.is_repeated else ():
            account.back += answer.granted_before.get(account.key, 0)
        if is_doubtful:
            self._doubt_slots()

    def _heard(self, sent_us: int) -> None:
        """The ledger has heard what we sent then."""
        self._seen_us, self.lost_us = sent_us, sent_us + _LEASES_LOST_US

    @property
    def _silent_us(self) -> int:
        """How long the ledger has not heard of us."""
        return self.now_us() - self._seen_us

    @property
    def _has_slots(self) -> bool:
        """Whether others wait for our slots when we fall silent."""
        return any(
            account.nature is LimitNature.SLOTS and (account.in_use or account.available)
            for account in self._active
        )

    def _doubt_slots(self) -> None:
        """Others may have our slots, or we one that we do not know of: we have none until it is clear."""
        self._is_in_doubt = True
        for account in self._active:
            if account.nature is LimitNature.SLOTS:
                account.lost()
        self._due.set()

    async def _tick_forever(self) -> None:
        while True:
            is_calm = not (self._active or self._begun_us or self._failed_until_us)
            if is_calm:  # a heartbeat, at the most
                self._watching.clear()
                await pause(to_beat(CALM_TICK_S), self._watching)
            if not is_calm or self._watching.is_set():
                await asyncio.sleep(TICK_US / 1e6)
            self._tick()

    def _tick(self) -> None:
        now_us = self.now_us()
        if self._begun_us and now_us - self._begun_us > PATIENCE_SECONDS * 1e6:
            self._fail(f"no answer within {PATIENCE_SECONDS} s")
        is_away = now_us < self._failed_until_us
        if self._silent_us > _LEASES_LOST_US:
            self.lose()
        elif self._silent_us > leases.SLOTS_LOST_S * 1e6 and self._has_slots and not self._is_in_doubt:
            self._doubt_slots()
        heartbeat_s = leases.HEARTBEAT_S if self._has_slots else CALM_HEARTBEAT_S
        is_due = self._failed_until_us > 0 or self._silent_us > heartbeat_s * 1e6
        for account in list(self._active):
            wanted = account.tick(now_us)
            if wanted > 0 and not is_away:
                self.ask(account, 0, wanted)
            is_due = is_due or account.back != 0 or wanted > 0
            if account.is_quiet(now_us):
                self._active.discard(account)
                account.is_watched = False
        if is_due and not is_away:
            for account in self._active:
                if (more := account.top_up(now_us)) > 0:
                    self.ask(account, 0, more)
            self._due.set()
