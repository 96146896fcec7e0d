"""Waiting for an event, but not past a time. Standard library only."""

import asyncio
from contextlib import suppress


async def pause(seconds: float, until: asyncio.Event) -> None:
    """Returns after `seconds`, or as soon as the event is set. No task is made for it: some processes do this
    several times a second for as long as they live, and an idle one does little else.
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await until.wait()
