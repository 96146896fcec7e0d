"""The event that one task waits for."""

import asyncio

from proxy.bell import Bell


async def test_it_wakes_who_waits_even_if_it_is_cleared_at_once() -> None:
    """A wake that is lost: the stream's task would never look again."""
    bell = Bell()
    waiting = asyncio.create_task(bell.wait())
    await asyncio.sleep(0)
    assert not waiting.done() and not bell.is_set()
    bell.set()
    bell.clear()
    async with asyncio.timeout(5):
        assert await waiting
    assert not bell.is_set()


async def test_it_rings_until_it_is_cleared() -> None:
    bell = Bell(is_set=True)
    async with asyncio.timeout(5):
        assert await bell.wait() and await bell.wait()


async def test_who_is_cancelled_while_waiting_leaves_room_for_the_next() -> None:
    """A waiter of a cancelled call: the connection's next one could not wait, or would not be woken."""
    bell = Bell()
    first = asyncio.create_task(bell.wait())
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    second = asyncio.create_task(bell.wait())
    await asyncio.sleep(0)
    bell.set()
    async with asyncio.timeout(5):
        assert await second
