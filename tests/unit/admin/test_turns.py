"""Processes start in turn."""

import asyncio

from admin.turns import Turns


async def test_as_many_start_at_a_time_as_there_are_cores_and_in_order() -> None:
    """Guards against a start of six processes on two cores, in which the longest gets a third of a core; and
    against one that never comes.
    """
    turns = Turns(2, patience_seconds=60)
    begun: list[int] = []
    ready = [asyncio.Event() for _ in range(4)]
    changed = asyncio.Event()

    async def start(number: int) -> None:
        await turns.take(ready[number])
        begun.append(number)
        changed.set()

    async def until(count: int) -> None:
        while len(begun) < count:
            await changed.wait()
            changed.clear()

    tasks = [asyncio.create_task(start(number)) for number in range(4)]
    await until(2)
    for _ in range(10):
        await asyncio.sleep(0)
    assert begun == [0, 1]
    ready[1].set()
    await until(3)
    for _ in range(10):
        await asyncio.sleep(0)
    assert begun == [0, 1, 2]
    ready[0].set()
    await asyncio.gather(*tasks)
    assert begun == [0, 1, 2, 3]


async def test_one_that_never_answers_keeps_nobody_from_starting() -> None:
    """Guards against a worker that waits for its database, and a control plane that waits for the worker."""
    turns = Turns(1, patience_seconds=0)
    never = asyncio.Event()
    async with asyncio.timeout(10):
        for _ in range(3):
            await turns.take(never)


async def test_who_gives_up_waiting_takes_nobodys_turn() -> None:
    """Guards against a start that is stopped half-way and hangs."""
    turns = Turns(1, patience_seconds=60)
    first = asyncio.Event()
    await turns.take(first)
    waiting = asyncio.create_task(turns.take(asyncio.Event()))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    first.set()
    async with asyncio.timeout(10):
        await turns.take(asyncio.Event())
