"""SQLite asked on the event loop itself, for tests that ask it some ten thousand times.

The driver has a thread for each connection, and each statement crosses over to it and back: four fifths of
what a short one takes. Where nothing runs at once there is nothing to keep from waiting. The statements, the
transactions and what SQLite does of them are the same.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import aiosqlite.core
import pytest


class _Inline:
    """As the queue of a connection's thread: what is put in is done at once."""

    def put_nowait(self, asked: tuple[asyncio.Future[Any] | None, Callable[[], Any]]) -> None:
        """Runs a function, and tells the future how it went."""
        future, function = asked
        try:
            result = function()
        except BaseException as fault:
            if future is None:
                raise
            future.set_exception(fault)
        else:
            if future is not None:
                future.set_result(result)


class _NoThread:
    """As the connection's thread, which has nothing to do."""

    daemon = True

    def __init__(self, **_: Any) -> None:
        """Takes what a thread takes."""

    def start(self) -> None:
        """Does nothing."""


@contextmanager
def inline_sqlite() -> Iterator[None]:
    """Connections that are made in this block are asked without a thread, as long as they live."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(aiosqlite.core, "SimpleQueue", _Inline)
        patch.setattr(aiosqlite.core, "Thread", _NoThread)
        yield
