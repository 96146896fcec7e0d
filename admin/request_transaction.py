"""A request's own view of the ledger: all that it writes is one transaction, which ends when its answer is
known.

For requests with an Idempotency-Key or an If-Match: the answer is kept, and the precondition looked at,
before anything is committed. What a route writes at a time is a savepoint: one that fails is undone alone, as
its own transaction would be, and routes need not know. What is read after the first write is read in the
transaction. Before it is known who asks, writes are transactions of their own.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

from admin.idempotency import Claim
from ledger.actors import Actor
from ledger.database import Database

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession


class RequestTransaction(Database):
    """A Database for one request, over another one. The task that makes it ends it: `commit` or `undo`."""

    def __init__(self, base: Database, state: dict[str, Any], claim: Claim | None) -> None:
        """`state` is the request's: the route's dependency puts the actor there."""
        self.__dict__.update(base.__dict__)  # the same connections: nothing is opened here, or closed
        self._base = base
        self._state = state
        self._claim = claim
        self._stack = AsyncExitStack()
        self.session: AsyncSession | None = None
        """The transaction, once there is one."""

    @asynccontextmanager
    async def read(self) -> "AsyncIterator[AsyncSession]":
        """A snapshot, or what the transaction sees. Raises DatabaseFault."""
        if self.session is not None:
            yield self.session
            return
        async with self._base.read() as session:
            yield session

    @asynccontextmanager
    async def write(self) -> "AsyncIterator[AsyncSession]":
        """A part of the transaction: undone alone if anything is raised. Raises DatabaseFault."""
        actor: Actor | None = self._state.get("actor")
        if actor is None:
            async with self._base.write() as session:
                yield session
            return
        session = await self._begin(actor)
        async with session.begin_nested():
            yield session

    async def flush(self) -> None:
        """Sends what the session holds: its rows are locked then."""
        if self.session is not None:
            await self.session.flush()

    async def commit(self) -> None:
        """Ends it for good. Raises DatabaseFault."""
        await self._stack.aclose()

    async def undo(self, cause: BaseException) -> BaseException:
        """Takes all of it back; the cause, or the DatabaseFault that it is."""
        try:
            await self._stack.__aexit__(type(cause), cause, cause.__traceback__)
        except BaseException as told:
            return told
        return cause

    async def _begin(self, actor: Actor) -> "AsyncSession":
        if self.session is None:
            if self._claim is not None:
                self._claim.enter(actor)
            session = await self._stack.enter_async_context(self._base.write())
            if self._claim is not None:
                await self._claim.begin(session, actor)
            self.session = session
        return self.session
