"""How logins come out: counted for the metrics page, told in the audit log within bounds."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from admin.config import AdminSettings
from admin.ledger_gauges import LOGINS, LedgerGauges
from admin.login_watch import APART_US, LoginWatch
from ledger import login_counts
from ledger.database import Database
from ledger.errors import DatabaseUnavailable, TooManyAttempts, WrongCredentials
from ledger.login_counts import Outcome
from ledger.logins import Door
from ledger.passwords import Passwords
from ledger.roles import Role
from ledger.sessions import Origin
from tests.integration.admin.serving import serving
from tests.people import MEMORY_MIB, NOON_US, PASSWORD, PEPPER, TERMS, a_tenant, a_user, hashed

BY_HAND = 3600.0
"""Seconds: nothing is written but when the test says so, however slow the machine is."""
ANN, BOB = "ann@example.com", "bob@example.com"


class Clock:
    """Told what time it is."""

    now_us = NOON_US

    def __call__(self) -> int:
        return self.now_us


async def events(database: Database) -> list[tuple[str | None, dict[str, object]]]:
    """(tenant, facts) of each failure in the log."""
    query = "SELECT tenant_id, after FROM audit_event WHERE event = 'login.failed' ORDER BY position"
    async with database.read() as session:
        return [(tenant, json.loads(after)) for tenant, after in await session.execute(text(query))]


async def counts(database: Database) -> dict[Outcome, int]:
    async with database.read() as session:
        return await login_counts.read(await session.connection())


async def test_failures_are_told_once_an_hour_and_all_are_counted(database: Database) -> None:
    """Guards against guessing that nobody sees, and against a log that strangers fill."""
    clock = Clock()
    watch = LoginWatch(database, clock, BY_HAND)
    door = Door(database, PEPPER, Passwords(MEMORY_MIB), TERMS, watch.heard)
    tenants = [(await a_tenant(database, name))[0].id for name in ("A", "B")]
    await a_user(database, ANN, *((one, Role.READER) for one in tenants), credential_hash=await hashed(ANN))

    async def tries(email: str, password: str, address: str) -> str:
        try:
            await door.log_in(email, password, Origin(address, "a browser"), None, clock.now_us)
        except (WrongCredentials, TooManyAttempts) as refusal:
            return type(refusal).__name__
        return "in"

    for number in range(3):
        assert await tries(ANN, "wrong", f"192.0.2.{number}") == "WrongCredentials"
    assert await tries("nobody@example.com", "wrong", "192.0.2.9") == "WrongCredentials"
    assert await tries(ANN, PASSWORD, "192.0.2.1") == "in"
    assert await events(database) == []
    await watch.write()
    first = {"attempts": 3, "addresses": ["192.0.2.0", "192.0.2.1", "192.0.2.2"]}
    told = sorted((tenant, first) for tenant in tenants)
    assert await events(database) == told
    assert await counts(database) == {Outcome.SUCCEEDED: 1, Outcome.FAILED: 4, Outcome.THROTTLED: 0}

    for number in range(7):
        await tries(ANN, "wrong", f"198.51.100.{number}")
    for _ in range(5):
        last = await tries(ANN, "wrong", "198.51.100.0")
    assert last == "TooManyAttempts"
    clock.now_us += APART_US - 1
    await watch.write()
    assert await events(database) == told, "its hour is not over"
    assert await counts(database) == {Outcome.SUCCEEDED: 1, Outcome.FAILED: 15, Outcome.THROTTLED: 1}
    clock.now_us += 1
    await watch.write()
    (_, again), _ = (await events(database))[2:]
    assert again == {"attempts": 11, "addresses": [f"198.51.100.{number}" for number in range(5)]}
    await watch.close()


class Away(Database):
    """A ledger that can be away for who writes."""

    is_away = False

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncSession]:
        if self.is_away:
            raise DatabaseUnavailable("away")
        async with super().write() as session:
            yield session


async def test_what_cannot_be_written_is_written_later(database: Database, database_url: str) -> None:
    """Guards against counts that an outage swallows, or counts twice."""
    user = await a_user(database, ANN)
    ledger = Away(database_url)
    watch = LoginWatch(ledger, Clock(), BY_HAND)
    ledger.is_away = True
    for address in ("192.0.2.1", "192.0.2.2"):
        watch.heard(Outcome.FAILED, user.id, Origin(address))
        with pytest.raises(DatabaseUnavailable):
            await watch.write()
    ledger.is_away = False
    await watch.close()
    await ledger.close()
    ((_, facts),) = await events(database)
    assert facts["attempts"] == 2
    assert (await counts(database))[Outcome.FAILED] == 2


async def test_the_control_plane_writes_them_and_the_metrics_page_shows_them(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    """Guards against a watch that nobody asks, and a metric that is always zero."""
    tenant, _ = await a_tenant(database)
    await a_user(database, ANN, (tenant.id, Role.OWNER), credential_hash=await hashed(ANN))
    settings = AdminSettings(database_url=database_url, data_dir=tmp_path, password_memory_mib=MEMORY_MIB)
    async with serving(settings) as served:
        for email, password, status in ((BOB, PASSWORD, 401), (ANN, "wrong", 401), (ANN, PASSWORD, 200)):
            assert (await served.browser().log_in(email, password)).status_code == status
    gauges = LedgerGauges(database_url)
    await asyncio.to_thread(gauges.refresh)
    shown = {
        (sample.name, *sample.labels.values()): sample.value
        for family in gauges.collect()
        for sample in family.samples
    }
    assert shown == {
        (LOGINS[0], "succeeded"): 1, (LOGINS[0], "failed"): 2, (LOGINS[0], "throttled"): 0,
    }  # fmt: skip
    async with serving(settings) as served:
        answer = await served.client.get(
            "/v1/organization/audit_logs",
            params={"event_types[]": "login.failed"},
            headers={"OpenAI-Organization": tenant.id},
        )
    (event,) = answer.json()["data"]
    assert event["login.failed"]["error_code"] == "invalid_credentials"
    assert event["metergate"]["subject_id"] != "" and PASSWORD not in answer.text
