"""Hashing: real argon2id, with the least that the settings allow."""

import asyncio
import threading

import pytest

from ledger import passwords
from ledger.errors import Refused, TooManyAttempts
from ledger.passwords import AT_ONCE, WAITING_MAX, Passwords

ANN = "ann@example.com"
GOOD = "kumquat lattice vortex"
MIB = 19


async def test_a_hash_is_argon2id_and_salted_and_knows_its_password_alone() -> None:
    """Guards against a weaker scheme as the library's default, and two users' equal hashes."""
    some = Passwords(MIB)
    kept = await some.hash(GOOD, ANN)
    assert kept.startswith(f"$argon2id$v=19$m={MIB * 1024},t=3,p=1$")
    assert kept != await some.hash(GOOD, ANN)
    assert GOOD not in kept
    assert await some.verify(GOOD, kept) == (True, None)
    assert await some.verify(GOOD + " ", kept) == (False, None)
    assert await some.verify(GOOD.upper(), kept) == (False, None)
    with pytest.raises(Refused):
        await some.hash("Password1234", ANN)


async def test_other_parameters_are_taken_up_when_the_password_is_right() -> None:
    """Guards against hashes that stay as weak as they were made."""
    kept = await Passwords(MIB).hash(GOOD, ANN)
    stronger = Passwords(MIB + 1)
    assert (await stronger.verify("wrong " + GOOD, kept)).renewed is None
    verdict = await stronger.verify(GOOD, kept)
    assert verdict.is_right
    assert verdict.renewed is not None
    assert f"m={(MIB + 1) * 1024}," in verdict.renewed
    assert await stronger.verify(GOOD, verdict.renewed) == (True, None)


async def test_nobody_costs_as_much_as_somebody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards against an answer whose time tells who has an account: one hash each, whoever it is."""
    some = Passwords(MIB)
    kept = await some.hash(GOOD, ANN)
    await some.verify(GOOD, None)  # the first makes what the others are compared with
    verified: list[str] = []
    whole = some._argon2.verify

    class Counting:
        """Counts, and does the same."""

        def verify(self, text: str, against: str) -> bool:
            """Counts one."""
            verified.append(against)
            return bool(whole(text, against))

    monkeypatch.setattr(some, "_argon2", Counting())
    for text, against in (
        ("wrong one of mine", kept),
        ("wrong one of mine", None),
        ("half \ud800 a pair", None),
    ):
        verified.clear()
        assert await some.verify(text, against) == (False, None)
        assert len(verified) == 1
        assert f"m={MIB * 1024},t=3,p=1" in verified[0]


async def test_hashing_leaves_the_loop_alone_and_the_queue_is_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Guards against a control plane that stands still while somebody logs in, and one that a flood of logins
    takes all memory of.
    """
    some, go, at_work, most = Passwords(MIB), threading.Event(), 0, 0
    began = asyncio.Event()
    loop, counting = asyncio.get_running_loop(), threading.Lock()

    def slow(self: Passwords, text: str) -> str:
        nonlocal at_work, most
        with counting:
            at_work += 1
            most = max(most, at_work)
        loop.call_soon_threadsafe(began.set)
        go.wait(30)
        with counting:
            at_work -= 1
        return text

    monkeypatch.setattr(passwords.Passwords, "_hash", slow)
    waiting = [asyncio.create_task(some.hash(GOOD, ANN)) for _ in range(WAITING_MAX)]
    await began.wait()  # the loop goes on while threads hash
    with pytest.raises(TooManyAttempts):
        await some.hash(GOOD, ANN)
    go.set()
    assert await asyncio.gather(*waiting) == [GOOD] * WAITING_MAX
    assert 1 <= most <= AT_ONCE
