"""The worker's judgement of whether the ledger is there, and for how long known keys go on without it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from ledger import changes, keys
from ledger.changes import Change
from ledger.errors import DatabaseUnavailable
from proxy import following
from proxy.auth import Authenticator
from proxy.errors import KeyIncorrect, LedgerUnavailable
from tests.unit.proxy.test_authenticator import ACTIVE, Ledger, ledger, until

__all__ = ["ledger"]


@asynccontextmanager
async def worker(ledger: Ledger, cached_seconds: float) -> AsyncIterator[tuple[Authenticator, bytes]]:
    """An authenticator that knows one key."""
    database: Any = ledger
    one = Authenticator(database, b"pepper", lambda: 1_000, cached_seconds)
    await one.start()
    secret = keys.mint().encode()
    await one.find(secret)
    yield one, secret
    await one.stop()


@pytest.fixture(autouse=True)
def _quick(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "FOLLOW_SECONDS", 0.001)
    monkeypatch.setattr(following, "LATE_SECONDS", 0.01)


@pytest.mark.parametrize("cached_seconds", [0.0, 0.05])
async def test_a_known_key_lapses_and_is_never_called_incorrect(
    ledger: Ledger, cached_seconds: float
) -> None:
    """Guards against keys that nobody could revoke for as long as an outage lasts, and against a 401 for
    them, on which apps give up.
    """
    async with worker(ledger, cached_seconds) as (authenticator, secret):
        ledger.fault = DatabaseUnavailable("away")
        await until(lambda: authenticator.ledger.is_lapsed)
        asked = ledger.asked
        assert authenticator.cached(secret) is None
        with pytest.raises(LedgerUnavailable):
            await authenticator.find(secret)
        with pytest.raises(KeyIncorrect):
            authenticator.cached(b"sk-mg-malformed")
        ledger.fault = None
        await until(lambda: authenticator.cached(secret) is ACTIVE)
        assert ledger.asked == asked, "a cache that comes back costs no question"


async def test_a_known_key_goes_on_until_then(ledger: Ledger) -> None:
    """Guards against an outage of a second that empties every cache."""
    async with worker(ledger, 3600) as (authenticator, secret):
        ledger.fault = DatabaseUnavailable("away")
        await until(lambda: not authenticator.ledger.ledger_answers)
        ledger.followed.clear()
        await ledger.followed.wait()
        assert authenticator.cached(secret) is ACTIVE
        assert not authenticator.ledger.is_lapsed


async def test_what_was_revoked_meanwhile_does_not_come_back(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards against a cache that is put back before the whole log has been read."""
    monkeypatch.setattr(changes, "AT_ONCE_MAX", 3)

    async def since(session: Ledger, after_id: int) -> list[Change]:
        return [change for change in session.log if (change.id or 0) > after_id][:3]

    monkeypatch.setattr(changes, "since", since)
    async with worker(ledger, 0) as (authenticator, secret):
        ledger.fault = DatabaseUnavailable("away")
        await until(lambda: authenticator.ledger.is_lapsed)
        ledger.log += [Change(id=n, at_us=1, kind="key.created", subject_id=f"key_{n}0") for n in range(1, 8)]
        ledger.log.append(Change(id=8, at_us=1, kind="key.revoked", subject_id="key_1"))
        seen: list[bool] = []
        authenticator.on_change.append(lambda: seen.append(authenticator.cached(secret) is not None))
        ledger.fault = None
        await until(lambda: not authenticator.ledger.is_lapsed)
        assert len(seen) >= 3 and not any(seen)
        assert authenticator.cached(secret) is None


async def test_a_ledger_that_hangs_is_away_and_still_listened_to(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards against a worker that calls itself ready for as long as a read hangs, and against revocations
    that a slow ledger has told and nobody heard.
    """
    monkeypatch.setattr(following, "PATIENCE_SECONDS", 0.01)
    gate = asyncio.Event()
    gate.set()

    async def since(session: Ledger, after_id: int) -> list[Change]:
        await gate.wait()
        await asyncio.sleep(0.02)
        return [change for change in session.log if (change.id or 0) > after_id]

    monkeypatch.setattr(changes, "since", since)
    async with worker(ledger, 3600) as (authenticator, secret):
        gate.clear()
        await until(lambda: not authenticator.ledger.ledger_answers)
        with pytest.raises(LedgerUnavailable):
            await authenticator.find(keys.mint().encode())
        assert authenticator.cached(secret) is ACTIVE
        ledger.log.append(Change(id=1, at_us=1, kind="key.revoked", subject_id="key_1"))
        gate.set()
        await until(lambda: authenticator.cached(secret) is None)
        assert not authenticator.ledger.ledger_answers


async def test_a_read_that_hangs_for_ever_is_given_up(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards against a follower that waits on a connection to a server which is gone."""
    monkeypatch.setattr(following, "PATIENCE_SECONDS", 0.005)
    monkeypatch.setattr(following, "READ_SECONDS_MAX", 0.02)
    hangs = 1

    async def since(session: Ledger, after_id: int) -> list[Change]:
        nonlocal hangs
        if hangs:
            hangs -= 1
            await asyncio.Event().wait()
        return []

    monkeypatch.setattr(changes, "since", since)
    async with worker(ledger, 3600) as (authenticator, _):
        await until(lambda: not authenticator.ledger.ledger_answers)
        await until(lambda: authenticator.ledger.ledger_answers)


async def test_who_waits_for_a_turn_is_told_when_the_ledger_goes_away(ledger: Ledger) -> None:
    """Guards against a queue of unknown keys that is asked about one by one, for minutes after."""
    async with worker(ledger, 3600) as (authenticator, _):
        ledger.gate = asyncio.Event()
        calls = [asyncio.create_task(authenticator.find(keys.mint().encode())) for _ in range(50)]
        asked = ledger.asked
        await until(lambda: ledger.asked == asked + 2)
        ledger.fault = DatabaseUnavailable("away")
        await until(lambda: not authenticator.ledger.ledger_answers)
        ledger.gate.set()
        answers: list[Any] = await asyncio.gather(*calls, return_exceptions=True)
        assert sum(isinstance(answer, LedgerUnavailable) for answer in answers) == 48
        assert ledger.asked == asked + 2
        assert not authenticator._asking


@pytest.mark.parametrize(
    "restored", [[], [(1, 5, "key_9")], [(1, 1, "key_1"), (2, 7, "key_7"), (3, 8, "key_8")]]
)
async def test_a_restored_ledger_is_read_anew(ledger: Ledger, restored: list[tuple[int, int, str]]) -> None:
    """Guards against a failover to a copy that lacks the last changes: its next ones have ids which a worker
    believes to have seen, so that a key revoked there would work for ever.
    """

    def log(*entries: tuple[int, int, str]) -> list[Change]:
        return [Change(id=n, at_us=at, kind="key.created", subject_id=subject) for n, at, subject in entries]

    async with worker(ledger, 3600) as (authenticator, secret):
        ledger.log = log((1, 1, "key_1"), (2, 2, "key_2"))
        await until(lambda: authenticator.ledger._last == (2, "key_2"))
        await authenticator.find(secret)
        ledger.log = log(*restored)
        await until(lambda: authenticator.cached(secret) is None)
        await authenticator.find(secret)
        ledger.log = [*ledger.log, *log((len(restored) + 1, 9, "key_1"))]
        await until(lambda: authenticator.cached(secret) is None)


async def test_the_log_is_read_when_something_was_committed(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards against an idle worker that reads all day what nobody wrote, and against a revoked key that goes
    on since its worker took the ledger for unchanged.
    """
    monkeypatch.setattr(following, "ASK_SECONDS", 3600)
    ledger.commits = 1
    async with worker(ledger, 3600) as (authenticator, secret):
        await ledger.followed.wait()
        ledger.followed.clear()
        looked: set[float] = set()  # each look counts as a reading, which is what keys are kept from

        def has_looked() -> bool:
            looked.add(authenticator.ledger._read_at)
            return len(looked) > 5

        await until(has_looked)
        assert not ledger.followed.is_set()
        assert authenticator.cached(secret) is ACTIVE
        ledger.log.append(Change(id=1, at_us=1, kind="key.revoked", subject_id="key_1"))
        ledger.commits = 2
        await until(lambda: authenticator.cached(secret) is None)


async def test_what_was_committed_during_a_read_is_read_next(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards against a sign that is taken after the reading it stands for."""
    monkeypatch.setattr(following, "ASK_SECONDS", 3600)
    ledger.commits = 1

    async def since(session: Ledger, after_id: int) -> list[Change]:
        found = [change for change in session.log if change.id > after_id]
        if ledger.commits == 1:
            session.log.append(Change(id=1, at_us=1, kind="key.revoked", subject_id="key_1"))
            ledger.commits = 2
        return found

    async with worker(ledger, 3600) as (authenticator, secret):
        monkeypatch.setattr(changes, "since", since)
        ledger.commits = 1
        authenticator.ledger._sign = None
        await until(lambda: authenticator.cached(secret) is None)


async def test_a_ledger_that_shows_no_commits_is_still_asked(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards against a worker that calls a broken ledger answering, as long as nothing is written to it."""
    monkeypatch.setattr(following, "ASK_SECONDS", 0.01)
    ledger.commits = 1
    async with worker(ledger, 3600) as (authenticator, _):
        ledger.fault = DatabaseUnavailable("away")
        await until(lambda: not authenticator.ledger.ledger_answers)
        ledger.fault = None
        await until(lambda: authenticator.ledger.ledger_answers)
