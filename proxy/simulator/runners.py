"""What the pacer drives: a streamed call and an unstreamed one.

A runner's `over` future is done when the call is: with how it ended. Everything else about the answer
(headers, the last chunk) is the app's.
"""

import asyncio
import sys
from typing import Protocol

from proxy.simulator.accounts import Ended
from proxy.simulator.batch import Batch, Choice
from proxy.simulator.errors import ENGINE_DIED_EVENT
from proxy.simulator.faults import Fault
from proxy.simulator.generation import Step
from proxy.simulator.wire import Wire

# As fast as possible still gives others their turn: so many engine steps at once.
BURST_STEPS = 32
_NEVER = sys.maxsize
# How soon a stream looks again whether its client has read.
FULL_RETRY_S = 0.01

DONE_EVENT = b"data: [DONE]\n\n"
KEEP_ALIVE_EVENT = b": keep-alive\n\n"


class Events(Protocol):
    """Renders one call's events."""

    def opening(self) -> list[bytes]: ...

    def chunk(self, choice: int, step: Step, tokens: tuple[int, ...], generated: int) -> bytes | None: ...

    def closing(self, generated: list[int]) -> list[bytes]: ...


class AnswerRunner:
    """An unstreamed call: the steps are kept until the last is made."""

    __slots__ = ("_batch", "_interval_s", "made", "over")

    def __init__(self, batch: Batch, interval_s: float) -> None:
        self._batch = batch
        self._interval_s = interval_s
        self.made: list[list[Step]] = [[] for _ in batch.choices]
        self.over: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()

    def step(self) -> float | None:
        if self.over.done():
            return None
        for _ in range(1 if self._interval_s else BURST_STEPS):
            for choice, step in self._batch.advance():
                self.made[choice.index].append(step)
            if self._batch.done:
                self.over.set_result(Ended.FINISHED)
                return None
        return self._interval_s

    def leave(self) -> None:
        """The client is gone."""
        if not self.over.done():
            self.over.set_result(Ended.ABORTED)


class StreamRunner:
    """A streamed call."""

    __slots__ = (
        "_batch",
        "_closing",
        "_event_at",
        "_events",
        "_fault",
        "_hung",
        "_interval_s",
        "_leftover",
        "_opened",
        "_stalled",
        "_stream_interval",
        "_unsent",
        "over",
        "wire",
    )

    def __init__(
        self,
        batch: Batch,
        events: Events,
        wire: Wire,
        *,
        interval_s: float,
        stream_interval: int,
        fault: Fault,
    ) -> None:
        self._batch = batch
        self._events = events
        self.wire = wire
        self._interval_s = interval_s
        self._stream_interval = stream_interval
        self._unsent: dict[int, list[Step]] = {}
        self._leftover: list[bytes] = []
        self._closing = 0
        self._fault = fault
        self._opened = self._stalled = self._hung = False
        self.over: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()
        self._event_at = self._next_incident()

    @property
    def withheld(self) -> int:
        """How many chunks that are counted as sent have not gone out whole. What closes a stream is behind
        them, and is no chunk.
        """
        return max(0, self.wire.withheld - self._closing)

    def _next_incident(self) -> int:
        """After how many chunks the fault strikes next."""
        fault = self._fault
        marks = [fault.die_after_chunks, fault.hang_after_chunks, fault.error_after_chunks]
        if not self._stalled:
            marks.append(fault.stall_after_chunks)
        return min((mark for mark in marks if mark is not None), default=_NEVER)

    def step(self) -> float | None:
        if self.over.done() or self._hung:
            return None
        if self.wire.gone:
            self.leave()
            return None
        if self._batch.account.chunks_sent >= self._event_at:
            return self._incident()
        if self.wire.full:
            return self._interval_s or FULL_RETRY_S
        out, self._leftover = self._leftover, []
        if not self._opened:
            self._opened = True
            out += self._events.opening()
        struck = False
        for _ in range(1 if self._interval_s else BURST_STEPS):
            self._render(out)
            struck = self._batch.account.chunks_sent + len(out) >= self._event_at
            if self._batch.done or struck:
                break
        return self._send(out, struck)

    def _send(self, out: list[bytes], struck: bool) -> float | None:
        account = self._batch.account
        if struck:
            # What was generated beyond the mark waits: an engine is always a little ahead of its connection.
            room = self._event_at - account.chunks_sent
            out, self._leftover = out[:room], out[room:]
        account.chunks_sent += len(out)
        if struck:
            if out:
                self.wire.write(out)
            return self._incident()
        if self._batch.done:
            account.over()
            chunks = len(out)
            if not self._fault.omit_usage:
                out += self._events.closing([choice.generated_tokens for choice in self._batch.choices])
            if not self._fault.omit_done:
                out.append(DONE_EVENT)
            self._closing = len(out) - chunks
            self.wire.write(out)
            self._end(Ended.FINISHED)
            return None
        if out:
            self.wire.write(out)
        return self._interval_s

    def _render(self, out: list[bytes]) -> None:
        for choice, step in self._batch.advance():
            if self._stream_interval == 1:
                event = self._events.chunk(choice.index, step, (step.token,), choice.generated_tokens)
            else:
                event = self._collected(choice, step)
            if event is not None:
                out.append(event)

    def _collected(self, choice: Choice, step: Step) -> bytes | None:
        """stream_interval: the first token alone, then so many together."""
        unsent = self._unsent.setdefault(choice.index, [])
        unsent.append(step)
        if step.finish_reason is None and (choice.generated_tokens - 1) % self._stream_interval:
            return None
        self._unsent[choice.index] = []
        merged = step._replace(text="".join(one.text for one in unsent))
        tokens = tuple(one.token for one in unsent)
        return self._events.chunk(choice.index, merged, tokens, choice.generated_tokens)

    def _incident(self) -> float | None:
        fault, mark = self._fault, self._event_at
        if fault.stall_after_chunks == mark and not self._stalled:
            self._stalled = True
            self._event_at = self._next_incident()
            return fault.stall_ms / 1000
        if fault.error_after_chunks == mark:
            events = [ENGINE_DIED_EVENT] if fault.omit_done else [ENGINE_DIED_EVENT, DONE_EVENT]
            self._closing = len(events)
            self.wire.write(events)
            self._end(Ended.ERRORED)
        elif fault.hang_after_chunks == mark:
            self._hung = True
            self._batch.account.end(Ended.HUNG)
        else:
            self._end(Ended.DIED)
        return None

    def _end(self, ended: Ended) -> None:
        def settle() -> None:
            if ended is Ended.DIED:
                self.wire.die(self._fault.reset)
            if not self.over.done():
                self.over.set_result(ended)

        self.wire.when_flushed(settle)

    def leave(self) -> None:
        """The client is gone."""
        if not self.over.done():
            self.over.set_result(Ended.HUNG if self._hung else Ended.ABORTED)
