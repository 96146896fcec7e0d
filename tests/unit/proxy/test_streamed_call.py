"""One stream's end at its limit, step by step: what no real engine and client can be made to do in time."""

import asyncio
import json
from typing import Any

from ledger.record import Ending
from ledger.usage import Usage, UsageSource
from proxy.call import read_call
from proxy.endpoints import CHAT
from proxy.fields import Limits
from proxy.streaming import StreamedCall
from proxy.upstream import EngineGone
from tests.unit.proxy.reference import vector

EVENTS = [event + b"\n\n" for event in vector("chat_stream_continuous").split(b"\n\n")[:-1]]
BODY = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True}


class PlayedExchange:
    """An engine's connection that only takes note."""

    status = 200
    headers = {b"content-type": b"text/event-stream"}  # noqa: RUF012

    def __init__(self) -> None:
        self.reading = True
        self.half_closed = 0

    async def first(self) -> None: ...

    def follow(self, sink: Any) -> None: ...

    def pause(self) -> None:
        self.reading = False

    def resume(self) -> None:
        self.reading = True

    def half_close(self) -> None:
        self.half_closed += 1
        self.resume()

    def abort(self) -> None: ...


class PlayedLine:
    """A client; while `slow` is set, it takes nothing before `takes`."""

    def __init__(self) -> None:
        self.said = b""
        self.whole = False
        self.slow = False
        self.takes = asyncio.Event()

    def chunk(self, data: bytes) -> bool:
        self.said += data
        return not self.slow

    async def drained(self) -> None:
        if self.slow:
            await self.takes.wait()

    def end(self) -> None:
        self.whole = True


class PlayedAnswer:
    """What is sent to it."""

    def __init__(self) -> None:
        self.line = PlayedLine()

    def start_stream(self) -> None: ...


class PlayedSettlement:
    """Notes how the call was settled."""

    first_byte_us = 0

    def __init__(self) -> None:
        self.settled: list[tuple[Ending, int, Usage, UsageSource]] = []

    @property
    def is_open(self) -> bool:
        return not self.settled

    def answered(self) -> None:
        self.first_byte_us = 1

    def count(self, prompt_tokens: int, completion_tokens: int) -> None: ...

    def settle(self, *told: Any) -> None:
        assert not self.settled
        self.settled.append(told)


class PlayedHold:
    """Has nothing left at `trigger`."""

    def __init__(self, trigger: int) -> None:
        self.trigger = trigger
        self.asked: list[tuple[int, int]] = []

    def grow(self, prompt_tokens: int, completion_tokens: int) -> bool:
        self.asked.append((prompt_tokens, completion_tokens))
        return False


class Stage:
    """A stream that has begun, with all its parts."""

    def __init__(self, trigger: int) -> None:
        self.exchange, answer = PlayedExchange(), PlayedAnswer()
        self.answer = answer.line
        self.settlement, self.hold = PlayedSettlement(), PlayedHold(trigger)
        parts: Any = (self.settlement, answer, self.hold)
        self.stream = StreamedCall(read_call(CHAT, json.dumps(BODY).encode(), Limits()), *parts)

    async def begin(self) -> "asyncio.Task[None]":
        exchange: Any = self.exchange
        await self.stream.begin(exchange)
        task = asyncio.create_task(self.stream.run())
        await asyncio.sleep(0)
        return task


async def test_a_slow_client_gets_the_end_of_a_limited_stream() -> None:
    """Paused for its client, the engine's last counts would come when the client reads, or never."""
    stage = Stage(trigger=2)
    task = await stage.begin()
    stage.answer.slow = True
    stage.stream.data(EVENTS[0] + EVENTS[1])
    assert not stage.exchange.reading
    stage.stream.data(EVENTS[2])
    assert stage.hold.asked == [(16, 2)] and stage.exchange.half_closed == 1 and stage.exchange.reading
    stage.stream.data(EVENTS[3])
    assert stage.exchange.reading and stage.hold.asked == [(16, 2)]
    stage.stream.ended(EngineGone("closed", answered=True))
    # The count is whole: it does not wait for the client.
    assert stage.settlement.settled == [(Ending.LIMIT_REACHED, 200, Usage(16, 0, 3), UsageSource.RUNNING)]
    stage.answer.slow = False
    stage.answer.takes.set()
    await task
    assert stage.answer.whole and stage.answer.said.count(b'"finish_reason":"length"') == 1
    assert stage.answer.said.count(b"data: ") == 6 and stage.answer.said.endswith(b"data: [DONE]\n\n")


async def test_a_stream_that_ends_by_itself_asks_for_no_more() -> None:
    """The last tokens and the last word come together: nothing is left to be held."""
    stage = Stage(trigger=2)
    task = await stage.begin()
    stage.stream.data(b"".join(EVENTS))
    stage.stream.ended(None)
    await task
    assert stage.hold.asked == [] and stage.answer.whole
    assert [told[0] for told in stage.settlement.settled] == [Ending.FINISHED]


async def test_a_shutdown_in_the_drain_leaves_the_end_clean() -> None:
    """An error event after the limit would hide from the app why its answer is short."""
    stage = Stage(trigger=1)
    task = await stage.begin()
    stage.stream.data(EVENTS[0] + EVENTS[1])
    stage.stream.cut()
    stage.stream.ended(EngineGone("closed", answered=True))
    await task
    assert [told[0] for told in stage.settlement.settled] == [Ending.LIMIT_REACHED]
    assert stage.answer.whole and b"error" not in stage.answer.said


async def test_a_client_that_slows_down_in_the_drain_pauses_nothing() -> None:
    """The drain's deadline is short, and stops for who is not reading."""
    stage = Stage(trigger=1)
    task = await stage.begin()
    stage.stream.data(EVENTS[0] + EVENTS[1])
    stage.answer.slow = True
    stage.stream.data(EVENTS[2])
    assert stage.exchange.half_closed == 1 and stage.exchange.reading
    stage.stream.ended(EngineGone("closed", answered=True))
    stage.answer.slow = False
    stage.answer.takes.set()
    await task
    assert stage.settlement.settled[0][2] == Usage(16, 0, 2) and stage.answer.whole
