"""Sessions of users, on both databases: when they end, and how their tokens turn over."""

from dataclasses import dataclass

import pytest
from sqlalchemy import text

from ledger import sessions, users
from ledger.actors import PROGRAM
from ledger.database import Database
from ledger.sessions import NEXT_LIFE_US, PREVIOUS_LIFE_US, SEEN_EVERY_US, SESSIONS_MAX, Found, Origin
from ledger.states import UserState
from ledger.tables.people import User
from tests.people import HOUR_US, MINUTE_US, NOON_US, PEPPER, TERMS, a_user

HERE = Origin("192.0.2.1", "a browser")


@dataclass
class Browser:
    """Logged in, with a jar that holds one token."""

    database: Database
    user: User
    token: str
    session_id: str

    async def find(self, now_us: int, token: str | None = None, pepper: bytes = PEPPER) -> Found | None:
        """Whether it is let in, without a change."""
        async with self.database.read() as session:
            return await sessions.find(session, pepper, token or self.token, TERMS, now_us)

    async def call(self, now_us: int, token: str | None = None) -> str | None:
        """A request, as the control plane handles it: the token that comes back with it, if one does."""
        found = await self.find(now_us, token)
        assert found is not None
        if not found.is_due:
            return None
        async with self.database.write() as session:
            return await sessions.turn(session, PEPPER, token or self.token, TERMS, now_us)


@pytest.fixture
async def browser(database: Database) -> Browser:
    user = await a_user(database, "ann@example.com")
    async with database.write() as session:
        begun, token = await sessions.begin(session, PEPPER, user, HERE, TERMS, NOON_US)
    return Browser(database, user, token, begun.id)


async def test_a_session_is_found_by_its_token_alone(browser: Browser) -> None:
    """Guards against a session that opens with its id, and one that another server's secret opens."""
    found = await browser.find(NOON_US + 1)
    assert found is not None
    assert (found.session.id, found.user.id, found.is_due) == (browser.session_id, browser.user.id, False)
    assert (found.session.address, found.session.user_agent) == ("192.0.2.1", "a browser")
    for other in ("", browser.session_id, f"{browser.session_id}.{'a' * 43}", browser.token + "a"):
        assert await browser.find(NOON_US + 1, other or "x") is None
    assert await browser.find(NOON_US + 1, pepper=b"q" * 32) is None


async def test_no_token_is_in_the_database(browser: Browser) -> None:
    """Guards against a backup that logs its reader in, or lets them make a CSRF token."""
    secret = browser.token.partition(".")[2]
    csrf_token = sessions.csrf_token(PEPPER, browser.session_id)
    async with browser.database.read() as session:
        rows = (await session.execute(text("SELECT * FROM user_session"))).all()
    for said in (secret, csrf_token):
        assert all(said not in str(value) and said.encode() != value for row in rows for value in row)
        assert all(bytes.fromhex(csrf_token) != value for row in rows for value in row)


async def test_it_ends_when_nobody_uses_it_and_at_the_latest_after_its_time(browser: Browser) -> None:
    """Guards against a session that lives as long as somebody keeps asking, and a forgotten tab."""
    assert await browser.find(NOON_US + TERMS.idle_us - 1) is not None
    assert await browser.find(NOON_US + TERMS.idle_us) is None
    now_us = NOON_US
    while now_us + HOUR_US // 2 < NOON_US + TERMS.absolute_us:
        now_us += HOUR_US // 2
        browser.token = await browser.call(now_us) or browser.token
    assert await browser.find(NOON_US + TERMS.absolute_us - 1) is not None
    assert await browser.find(NOON_US + TERMS.absolute_us) is None


async def test_use_is_kept_once_a_minute(browser: Browser) -> None:
    """Guards against a write for every call of a page, and an idle time that is not moved at all."""
    assert await browser.call(NOON_US + SEEN_EVERY_US - 1) is None
    found = await browser.find(NOON_US + SEEN_EVERY_US)
    assert found is not None
    assert found.is_due
    assert await browser.call(NOON_US + SEEN_EVERY_US) is None
    found = await browser.find(NOON_US + SEEN_EVERY_US + TERMS.idle_us - 1)
    assert found is not None
    assert found.session.seen_us == NOON_US + SEEN_EVERY_US


async def test_the_token_turns_over_and_the_one_before_dies(browser: Browser) -> None:
    """Guards against a stolen token that works as long as the session does."""
    first, now_us = browser.token, NOON_US + TERMS.turn_us
    second = await browser.call(now_us)
    assert second is not None
    assert second.partition(".")[2] != first.partition(".")[2]
    assert await browser.find(now_us + 1, first) is not None  # until the next is seen
    assert await browser.call(now_us + 2, second) is None
    assert await browser.find(now_us + 2 + PREVIOUS_LIFE_US - 1, first) is not None  # what was under way
    assert await browser.find(now_us + 2 + PREVIOUS_LIFE_US, first) is None
    assert await browser.find(now_us + 2 + PREVIOUS_LIFE_US, second) is not None


async def test_calls_side_by_side_log_nobody_out(browser: Browser) -> None:
    """Guards against fifty calls of a page that each get a token of which only one works."""
    now_us = NOON_US + TERMS.turn_us
    given = [await browser.call(now_us + number) for number in range(5)]
    (second,) = [token for token in given if token]
    await browser.call(now_us + 10, second)
    late = await browser.call(now_us + 11, browser.token)  # sent before its browser had the second
    assert late is None
    assert await browser.find(now_us + 12, second) is not None


async def test_an_answer_that_got_lost_logs_nobody_out(browser: Browser) -> None:
    """Guards against a user who has to log in again because their train went into a tunnel."""
    now_us = NOON_US + TERMS.turn_us
    lost = await browser.call(now_us)
    assert lost is not None
    assert await browser.call(now_us + NEXT_LIFE_US - 1) is None
    again = await browser.call(now_us + NEXT_LIFE_US)
    assert again not in (None, lost)
    assert await browser.call(now_us + NEXT_LIFE_US + 1, again) is None
    assert await browser.find(now_us + NEXT_LIFE_US + 2, lost) is None
    assert await browser.find(now_us + 2 * HOUR_US // 3, again) is not None


async def test_a_renewed_session_knows_one_token(browser: Browser) -> None:
    """Guards against a thief who goes on after the password was changed in the same session."""
    now_us = NOON_US + TERMS.turn_us
    waiting = await browser.call(now_us)
    async with browser.database.write() as session:
        renewed = await sessions.renew(session, PEPPER, browser.session_id, now_us + 1)
    assert renewed is not None
    assert await browser.find(now_us + 2, browser.token) is None
    assert await browser.find(now_us + 2, waiting) is None
    assert await browser.find(now_us + 2, renewed) is not None


async def test_a_disabled_user_is_out_at_once(browser: Browser) -> None:
    """Guards against a session that outlives its user, also when they are let in again."""
    async with browser.database.write() as session:
        await users.set_state(session, browser.user.id, UserState.DISABLED, NOON_US, by=PROGRAM)
    assert await browser.find(NOON_US + 1) is None
    async with browser.database.write() as session:
        await users.set_state(session, browser.user.id, UserState.ACTIVE, NOON_US, by=PROGRAM)
    assert await browser.find(NOON_US + 1) is None


async def test_the_oldest_of_too_many_ends(browser: Browser) -> None:
    """Guards against a table that one user's script fills."""
    made = []
    for number in range(SESSIONS_MAX):
        async with browser.database.write() as session:
            at_us = NOON_US + number + 1
            made.append((await sessions.begin(session, PEPPER, browser.user, HERE, TERMS, at_us))[1])
    assert await browser.find(NOON_US + MINUTE_US // 2) is None
    assert all([await browser.find(NOON_US + MINUTE_US // 2, token) for token in made])


async def test_what_is_over_is_cleared_and_nothing_else(browser: Browser) -> None:
    """Guards against a table that grows for ever, and a clearing that logs people out."""
    async with browser.database.write() as session:
        assert await sessions.clear(session, TERMS, NOON_US + TERMS.idle_us - 1) == 0
    assert await browser.find(NOON_US + 1) is not None
    async with browser.database.write() as session:
        assert await sessions.clear(session, TERMS, NOON_US + TERMS.idle_us) == 1
