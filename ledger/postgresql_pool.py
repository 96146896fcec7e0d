"""Connections to a PostgreSQL, straight from the driver: a bounded number, made when they are wanted.

Knows nothing of what is asked on them. Rules: a connection that was closed meanwhile is not used again; one
that a failure leaves in an unknown state goes to no one else; nobody waits for one without an end.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from ledger import patience


class AllInUse(Exception):
    """No connection came free in time."""


class PostgresqlPool:
    """At most `size` connections. `connect`: what asyncpg.connect takes."""

    def __init__(self, connect: dict[str, Any], size: int) -> None:
        self._connect = connect
        self._turns = asyncio.Semaphore(size)
        self._idle: list[Any] = []

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Any]:
        """One of asyncpg's. Raises AllInUse, OSError and the driver's own errors."""
        try:
            async with asyncio.timeout(patience.POOL_WAIT_S):
                await self._turns.acquire()
        except TimeoutError:
            raise AllInUse from None
        connection = None
        try:
            connection = self._take() or await self._open()
            yield connection
        except (OSError, asyncio.CancelledError):
            if connection is not None:
                connection.terminate()  # nobody knows what is still under way on it
            raise
        finally:
            if connection is not None:
                self._put_back(connection)
            self._turns.release()

    async def close(self) -> None:
        """Closes what is idle."""
        idle, self._idle = self._idle, []
        for connection in idle:
            try:
                await connection.close(timeout=patience.CONNECT_S)
            except Exception:  # it is gone either way
                connection.terminate()

    def _take(self) -> Any:
        """The one that was used last: asyncpg knows of a close as soon as the event loop does."""
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed():
                return connection
        return None

    def _put_back(self, connection: Any) -> None:
        if connection.is_closed():
            return
        if connection.is_in_transaction():
            connection.terminate()
        else:
            self._idle.append(connection)

    async def _open(self) -> Any:
        import asyncpg  # noqa: PLC0415 - SQLite does without

        return await asyncpg.connect(
            **self._connect,
            timeout=patience.CONNECT_S,
            command_timeout=patience.COMMAND_MS / 1000,
            server_settings=patience.server_settings(),
        )
