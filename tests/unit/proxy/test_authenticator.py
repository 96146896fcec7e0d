"""The cache of principals: what it asks the database, and what it does when that fails."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any, TypeVar

import pytest

from ledger import changes, keys, secret_use
from ledger.changes import Change
from ledger.errors import DatabaseUnavailable
from ledger.principals import Principal
from ledger.states import KeyState, ProjectState, TenantState
from proxy import auth, following
from proxy.auth import Authenticator
from proxy.errors import AccessBlocked, KeyIncorrect, KeyMissing, LedgerUnavailable

ACTIVE = Principal("org-1", "proj_1", "key_1", TenantState.ACTIVE, ProjectState.ACTIVE, KeyState.ACTIVE, None)


T = TypeVar("T")


class Ledger:
    """A database that counts what it is asked, and fails when told to: its own connection, too."""

    def __init__(self) -> None:
        self.principal: Principal | None = ACTIVE
        self.log: list[Change] = []
        self.fault: Exception | None = None
        self.asked = 0
        self.used: dict[int, int] = {}
        self.followed = asyncio.Event()
        self.gate: asyncio.Event | None = None

    pool_size = 3
    commits: object = None

    def sign(self) -> object:
        return self.commits

    async def transact(self, work: Callable[["Ledger"], Awaitable[T]]) -> T:
        return await self.look(work)

    async def look(self, work: Callable[["Ledger"], Awaitable[T]]) -> T:
        if self.fault is not None:
            self.followed.set()
            raise self.fault
        return await work(self)


@pytest.fixture
async def ledger(monkeypatch: pytest.MonkeyPatch) -> Ledger:
    async def find_principal(session: Ledger, digest: bytes) -> Principal | None:
        session.asked += 1
        found = session.principal
        if session.gate is not None:
            await session.gate.wait()
        return found

    async def since(session: Ledger, after_id: int) -> list[Change]:
        session.followed.set()
        return [change for change in session.log if change.id > after_id]

    async def latest(session: Ledger) -> int:
        return max((change.id for change in session.log), default=0)

    async def note(session: Ledger, used: dict[int, int]) -> None:
        session.used = {**session.used, **used}

    monkeypatch.setattr(secret_use, "note", note)
    monkeypatch.setattr(auth, "find_principal", find_principal)
    monkeypatch.setattr(changes, "since", since)
    monkeypatch.setattr(changes, "latest", latest)
    monkeypatch.setattr(following, "FOLLOW_SECONDS", 0.001)
    return Ledger()


@pytest.fixture
async def authenticator(ledger: Ledger) -> AsyncIterator[Authenticator]:
    database: Any = ledger
    one = Authenticator(database, b"pepper", lambda: 1_000)
    await one.start()
    yield one
    await one.stop()


async def until(look: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not look():
            await asyncio.sleep(0)


@pytest.mark.parametrize(
    "secret",
    [b"", b"sk-mg-", b"sk-mg-" + b"a" * 49, b"\xff" * 55, keys.mint()[:-1].encode(), b"x" * 100_000],
    ids=["empty", "prefix", "wrong", "bytes", "cut", "long"],
)
def test_a_malformed_secret_is_refused_without_a_question(
    authenticator: Authenticator, secret: bytes
) -> None:
    """`cached` cannot wait, and so cannot ask: a flood of guesses must not become a flood of queries."""
    with pytest.raises(KeyIncorrect):
        authenticator.cached(secret)
    with pytest.raises(KeyMissing):
        authenticator.cached(None)


async def test_a_key_is_asked_for_once(authenticator: Authenticator, ledger: Ledger) -> None:
    """A burst of calls with a new key was a burst of queries."""
    secret = keys.mint().encode()
    ledger.gate = asyncio.Event()
    calls = [asyncio.create_task(authenticator.find(secret)) for _ in range(50)]
    await until(lambda: ledger.asked > 0)
    ledger.gate.set()
    assert await asyncio.gather(*calls) == [ACTIVE] * 50
    assert authenticator.cached(secret) is ACTIVE
    assert ledger.asked == 1


async def test_an_unknown_key_is_remembered(authenticator: Authenticator, ledger: Ledger) -> None:
    """A leaked and deleted key is tried again and again."""
    ledger.principal = None
    secret = keys.mint().encode()
    for _ in range(5):
        assert authenticator.cached(secret) is None
        with pytest.raises(KeyIncorrect):
            await authenticator.find(secret)
    assert ledger.asked == 1


async def test_what_was_read_while_it_changed_is_not_kept(
    authenticator: Authenticator, ledger: Ledger
) -> None:
    """A query that began before a revocation and ended after it would let the key in until the next one."""
    secret = keys.mint().encode()
    ledger.gate = asyncio.Event()
    call = asyncio.create_task(authenticator.find(secret))
    await until(lambda: ledger.asked == 1)
    ledger.principal = Principal(
        "org-1", "proj_1", "key_1", TenantState.BLOCKED, ProjectState.ACTIVE, KeyState.ACTIVE, None
    )
    ledger.log.append(Change(id=1, at_us=1, kind="tenant.blocked", subject_id="org-1"))
    noticed: list[bool] = []
    authenticator.on_change.append(lambda: noticed.append(True))
    await until(lambda: bool(noticed))
    ledger.gate.set()
    with pytest.raises(AccessBlocked):
        await call
    assert ledger.asked == 2


@pytest.mark.parametrize("fault", [DatabaseUnavailable("away"), ValueError("ours"), OSError("theirs")])
async def test_a_worker_goes_on_following_whatever_fails(
    authenticator: Authenticator, ledger: Ledger, fault: Exception
) -> None:
    """One exception nobody thought of ended the task: from then on revoked keys worked for ever."""
    secret = keys.mint().encode()
    await authenticator.find(secret)
    ledger.fault = fault
    await until(lambda: not authenticator.ledger.ledger_answers)
    assert authenticator.cached(secret) is ACTIVE
    ledger.fault = None
    ledger.log.append(Change(id=1, at_us=1, kind="key.revoked", subject_id="key_1"))
    await until(lambda: authenticator.cached(secret) is None)
    assert authenticator.ledger.ledger_answers


async def test_a_ledger_that_is_away_is_said(authenticator: Authenticator, ledger: Ledger) -> None:
    """503 with a retry: the key may be right."""
    ledger.fault = DatabaseUnavailable("away")
    with pytest.raises(LedgerUnavailable):
        await authenticator.find(keys.mint().encode())


async def test_a_grace_ends_by_the_clock(ledger: Ledger) -> None:
    """Nothing is written when a grace ends: a cached principal that is not looked at goes on for ever."""
    ledger.principal = replace(ACTIVE, expires_us=2_000, is_replaced=True)
    now = [1_999]
    database: Any = ledger
    authenticator = Authenticator(database, b"pepper", lambda: now[0])
    await authenticator.start()
    secret = keys.mint().encode()
    assert await authenticator.find(secret) is authenticator.cached(secret)
    now[0] = 2_000
    with pytest.raises(KeyIncorrect, match="replaced"):
        authenticator.cached(secret)
    with pytest.raises(KeyIncorrect, match="replaced"):
        await authenticator.find(secret)
    await authenticator.stop()


async def test_the_use_of_a_secret_is_written_though_the_ledger_was_away(ledger: Ledger) -> None:
    """Guards against an old secret that looks unused because a note got lost, and against notes of calls that
    were not let in.
    """
    now = [1_000]
    database: Any = ledger
    authenticator = Authenticator(database, b"pepper", lambda: now[0])
    await authenticator.start()
    secret, refused = keys.mint().encode(), keys.mint().encode()
    ledger.principal = replace(ACTIVE, secret_id=7)
    await authenticator.find(secret)
    ledger.principal = replace(ACTIVE, secret_id=8, key_state=KeyState.BLOCKED)
    with pytest.raises(AccessBlocked):
        await authenticator.find(refused)
    ledger.fault = DatabaseUnavailable("away")
    await authenticator.last_use.write()
    assert (ledger.used, authenticator.last_use.at) == ({}, {7: 1_000})
    now[0] = 1_500
    authenticator.cached(secret)
    ledger.fault = None
    await authenticator.stop()
    assert (ledger.used, authenticator.last_use.at) == ({7: 1_500}, {})
