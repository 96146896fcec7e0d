"""When admin keys were last used: behind the request, to the minute, on both databases."""

import pytest

from admin.last_use import APART_US, LastUse
from ledger import admin_keys
from ledger.database import Database
from ledger.states import KeyState
from ledger.tables.tenancy import AdminKey


async def test_a_use_is_written_once_a_minute_and_never_backwards(database: Database) -> None:
    """Guards against a write for every request, and a key in use that looks as if it were not."""
    async with database.write() as session:
        key, _ = await admin_keys.create_admin_key(session, b"p" * 32, "Operator", 1)

    async def used_at(now_us: int) -> int | None:
        uses = LastUse(database)
        uses.note(key, now_us)
        uses.note(key, now_us)
        await uses.close()
        async with database.read() as session:
            found = await admin_keys.get_admin_key(session, key.id)
        key.last_used_us = found.last_used_us
        return found.last_used_us

    assert await used_at(10 * APART_US) == 10 * APART_US
    assert await used_at(11 * APART_US - 1) == 10 * APART_US
    assert await used_at(11 * APART_US) == 11 * APART_US
    key.last_used_us = None
    assert await used_at(5 * APART_US) == 11 * APART_US


async def test_a_ledger_that_is_away_costs_no_request(caplog: pytest.LogCaptureFixture) -> None:
    """Guards against a page that fails because of what nobody asked for."""
    key = AdminKey(id="adminkey_a", name="a", digest=b"", redacted="", state=KeyState.ACTIVE, created_us=1)
    away = Database("postgresql://u:p@127.0.0.1:1/none")
    uses = LastUse(away)
    uses.note(key, APART_US)
    await uses.close()
    await away.close()
    assert "the last use of admin key adminkey_a is not written" in caplog.text
