"""What becomes of a session whose task is cancelled."""

import asyncio
from typing import Any

import pytest
from sqlalchemy import event, text
from sqlalchemy.pool import Pool

from ledger.database import Database


async def test_a_session_cancelled_while_it_ends_gives_its_connection_back(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """Guards against a traceback of the pool at the stop of a process that was just done with a change, and
    against a connection lost for good each time.
    """
    ending = 0

    async def write() -> None:
        async with database.write() as session:
            await session.execute(text("UPDATE usage_hour SET calls = 0"))

    def cancel_the_writer(*_: Any) -> None:
        nonlocal ending
        ending += 1
        writer.cancel()

    event.listen(Pool, "reset", cancel_the_writer)
    try:
        for _ in range(database.pool_size + 1):
            writer = asyncio.create_task(write())
            with pytest.raises(asyncio.CancelledError):
                await writer
    finally:
        event.remove(Pool, "reset", cancel_the_writer)
    assert ending == database.pool_size + 1
    async with asyncio.timeout(5):
        await write()
    assert caplog.text == ""
