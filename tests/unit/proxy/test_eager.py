"""Coroutines that run in the callbacks they wait for, and the event they wait for."""

import asyncio
from typing import Any

import pytest

from proxy.eager import Bell, Eager, in_task


async def test_a_bell_wakes_a_task_that_waits_even_if_it_is_cleared_at_once() -> None:
    """A wake that is lost: the stream's task would never look again."""
    bell = Bell()

    async def wait() -> None:
        await bell

    waiting = asyncio.create_task(wait())
    await asyncio.sleep(0)
    assert not waiting.done() and not bell.is_set()
    bell.set()
    bell.clear()
    async with asyncio.timeout(5):
        await waiting
    assert not bell.is_set()


async def test_a_bell_rings_until_it_is_cleared() -> None:
    bell = Bell()
    bell.set()
    async with asyncio.timeout(5):
        await bell
        await bell


async def test_who_is_cancelled_while_waiting_leaves_room_for_the_next() -> None:
    """A waiter of a cancelled call: the connection's next one could not wait, or would not be woken."""
    bell = Bell()

    async def wait() -> None:
        await bell

    first = asyncio.create_task(wait())
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    second = asyncio.create_task(wait())
    await asyncio.sleep(0)
    bell.set()
    async with asyncio.timeout(5):
        await second


class Said:
    """What a coroutine has come to."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.among: set[Any] = set()
        self.bell = Bell()


async def test_it_begins_at_once_and_goes_on_in_the_callback_that_it_waits_for() -> None:
    """A turn of the event loop between an engine's answer and the client's: what this is there to save."""
    said = Said()

    async def call() -> None:
        said.steps.append("begun")
        await said.bell
        said.steps.append("woken")
        said.bell.clear()
        await said.bell
        said.steps.append("over")

    Eager(call(), said.among)
    assert said.steps == ["begun"] and len(said.among) == 1
    said.bell.set()
    assert said.steps == ["begun", "woken"]
    said.bell.set()
    assert said.steps == ["begun", "woken", "over"] and not said.among


async def test_what_waits_for_anything_else_becomes_a_task_and_ends_as_one() -> None:
    """A call that has to wait for the ledger would be lost, or would wait for its engine in vain later."""
    said = Said()
    future: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    here = asyncio.current_task()

    async def call() -> None:
        assert asyncio.current_task() is here
        said.steps.append(await future)
        assert asyncio.current_task() not in (here, None)
        await said.bell
        with pytest.raises(ValueError, match="as raised"):
            await failing
        said.steps.append("over")

    failing: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    Eager(call(), said.among)
    future.set_result("here")
    await asyncio.sleep(0)
    assert said.steps == []  # its task has seen the future, and is told in the next turn
    await asyncio.sleep(0)
    assert said.steps == ["here"]
    said.bell.set()
    failing.set_exception(ValueError("as raised"))
    async with asyncio.timeout(5):
        while said.among:
            await asyncio.sleep(0)
    assert said.steps == ["here", "over"]


async def test_in_task_is_a_task_and_costs_a_task_nothing() -> None:
    """`asyncio.timeout` outside of a task raises: no connection to an engine could be made."""
    said = Said()

    async def call() -> None:
        await in_task()
        async with asyncio.timeout(5):
            said.steps.append("within its time")
        await in_task()

    Eager(call(), said.among)
    assert said.steps == []
    while said.among:
        await asyncio.sleep(0)
    assert said.steps == ["within its time"]
    await call()


@pytest.mark.parametrize("is_task", [False, True])
async def test_one_that_is_cancelled_cleans_up_and_is_gone(is_task: bool) -> None:
    """A stop that is in a hurry leaves calls behind that are neither settled nor ended."""
    said = Said()

    async def call() -> None:
        if is_task:
            await in_task()
        try:
            await said.bell
        finally:
            said.steps.append("cleaned up")

    eager = Eager(call(), said.among)
    await asyncio.sleep(0)
    eager.cancel("in a hurry")
    while said.among:
        await asyncio.sleep(0)
    assert said.steps == ["cleaned up"]
    said.bell.set()  # wakes nobody


async def test_one_within_another_does_not_take_its_place() -> None:
    """A bell rung in a call's own step: the call would wait on behalf of the one that it woke."""
    said = Said()
    own = Bell()

    async def inner() -> None:
        await said.bell
        said.steps.append("inner")

    async def outer() -> None:
        said.bell.set()
        await own
        said.steps.append("outer")

    Eager(inner(), said.among)
    Eager(outer(), said.among)
    own.set()
    assert said.steps == ["inner", "outer"] and not said.among


async def test_a_fault_is_told_and_ends_it() -> None:
    """A fault that nobody hears of, or that ends whoever rang the bell."""
    said = Said()
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: told.append(context))

    async def call() -> None:
        await said.bell
        raise ValueError("as raised")

    Eager(call(), said.among)
    said.bell.set()
    assert str(told[0]["exception"]) == "as raised" and not said.among
