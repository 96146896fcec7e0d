"""Waiting: for an event but not past a time, and for a beat that others wait for, too. Standard library only.

An idle process does little else than wake up, which costs more than what it does then.
"""

import asyncio
import time
from contextlib import suppress
from typing import Final

_BEGAN: Final = time.monotonic()  # processes that start apart beat apart: not all ask a database at once
_EARLY: Final = 0.05  # a timer may be early by a millisecond: the beat that is just being woken for is over


async def pause(seconds: float, until: asyncio.Event) -> None:
    """Returns after `seconds`, or as soon as the event is set. No task is made for it: some processes do this
    several times a second for as long as they live.
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await until.wait()


def to_beat(period: float) -> float:
    """How many seconds it is to the next multiple of a period: whoever waits for one of a second, a half or
    a quarter wakes with the others, and a process once for all of them. At most 1.05 periods.
    """
    left = period - (time.monotonic() - _BEGAN) % period
    return left if left > _EARLY * period else left + period
