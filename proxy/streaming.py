"""One streamed call on its way: the engine's bytes are counted, edited and sent on in the callback they
came in.

Owns the ways a stream can end, and what client and ledger are told of each (the table in ARCHITECTURE.md).
Rules:

- No lock, no database and no task switch while tokens stream. Only a client slower than its engine wakes
  the task, and pauses the engine's connection meanwhile.
- A chunk's count is in the flight recorder before the chunk leaves, the last word in the journal before the
  last bytes do.
- A client that leaves ends the engine's work, and what the engine still tells is counted.
- So does a hard limit that has nothing left; its client is told what the engine still says, and then gets a
  whole answer's end.
"""

from typing import Final, Protocol

from ledger.record import Ending
from ledger.usage import NO_USAGE, UsageSource
from proxy import errors
from proxy.answer import Answer
from proxy.call import Call
from proxy.eager import Bell
from proxy.settlement import Settlement
from proxy.sse import EventTooLarge, render
from proxy.stream import CompletionStream
from proxy.upstream import EngineGone, EngineNonsense, EngineSilent, Exchange, UpstreamFault

_ERROR_BYTES_MAX: Final = 1 << 20
_EVENTS: Final = b"text/event-stream"


class RunningHold(Protocol):
    """What a stream holds of its hard limits, extended as its tokens come.

    `trigger`: the completion tokens at which `grow` is to be called. Counts are in tokens, as known now.
    """

    @property
    def trigger(self) -> int: ...

    def grow(self, prompt_tokens: int, completion_tokens: int) -> bool:
        """Takes more, and moves the trigger on; False: a limit has nothing left. Must not block."""


class StreamedCall:
    """The `Sink` of one exchange, and the task that waits for its end.

    `exchange` is the engine's connection while it is ours: not before the call is sent, nor after its
    answer is whole. `hold`: None where no hard limit applies.
    """

    __slots__ = (
        "_answer",
        "_blocked",
        "_call",
        "_cut",
        "_ended",
        "_exchange",
        "_fault",
        "_hold",
        "_is_told",
        "_left",
        "_limited",
        "_settlement",
        "_wake",
        "events",
    )

    def __init__(
        self, call: Call, settlement: Settlement, answer: Answer, hold: RunningHold | None = None
    ) -> None:
        self.events = CompletionStream(
            call.wish,
            choices_per_prompt=call.choices_per_prompt,
            choices=call.choices,
            silence=call.silence,
            hide_reasoning=call.hide_reasoning,
        )
        self._call = call
        self._exchange: Exchange | None = None
        self._settlement = settlement
        self._answer = answer
        self._hold = hold
        self._wake = Bell()
        self._blocked = False
        self._fault: UpstreamFault | None = None
        self._ended = False
        self._is_told = False
        self._left = False
        self._cut = False
        self._limited = False

    # The flow, in the call's task.

    async def begin(self, exchange: Exchange) -> None:
        """Waits for the engine's first byte. Raises UpstreamFault; ApiError where the answer is no stream."""
        self._exchange = exchange
        if self._left or self._cut:
            exchange.half_close()  # it happened while we were connecting
        try:
            await exchange.first()
        except EngineGone as fault:
            if self._left:
                raise errors.ClientGone("The client closed the connection.") from fault
            if self._cut:
                raise errors.Stopping("This server is shutting down. Try again.") from fault
            raise
        if exchange.status == 200 and exchange.headers.get(b"content-type", b"").startswith(_EVENTS):
            return
        self._exchange = None
        body = await exchange.whole(_ERROR_BYTES_MAX)
        if exchange.status == 200:
            # It may have made tokens; nobody knows how many.
            self._settlement.settle(Ending.ENGINE_DIED, 500, NO_USAGE, UsageSource.UNRESOLVED)
            raise errors.EngineFault("The engine did not answer with a stream of events.")
        raise errors.from_engine(exchange.status, body, self._call.model, self._call.endpoint.input_field)

    async def run(self) -> None:
        """Carries the stream to its end and settles it."""
        self._settlement.answered()
        if not self._left:
            self._answer.start_stream()
        if self._exchange is not None:
            self._exchange.follow(self)
        while True:
            await self._wake
            self._wake.clear()
            if self._blocked:
                await self._unblock()
            if self._ended and not self._blocked:
                break
        self._finish()

    def close(self) -> None:
        """The task is over, in whatever way: leaves nothing open and nothing unsettled."""
        if self._exchange is not None:
            self._exchange.abort()
        if self._settlement.first_byte_us:
            self._settle(Ending.CLIENT_LEFT if self._left else Ending.STOPPED)

    async def _unblock(self) -> None:
        """Waits for a client that is slower than its engine; then reads on."""
        await self._answer.line.drained()  # the server cuts off a client that takes nothing for long
        self._blocked = False
        if self._exchange is not None:
            self._exchange.resume()

    def _finish(self) -> None:
        """The engine has ended its side: closes the account and tells the client how it ended."""
        if self._is_told:
            return
        problem = None if self._left or self._limited else self._problem()
        if problem is None:
            self._settle(self._peaceful())
            if self._limited:  # the end that the engine did not send: the client's answer is whole
                self._answer.line.chunk(self.events.closing())
            self._answer.line.end()
            return
        ending, error = problem
        self._settle(ending)
        # The client's HTTP is left unfinished on purpose: nobody can take the answer for whole.
        self._answer.line.chunk(render(error.body()))

    def _peaceful(self) -> Ending:
        """How the call ended, if nothing broke it."""
        if self._left:
            return Ending.CLIENT_LEFT
        return Ending.LIMIT_REACHED if self._limited else Ending.FINISHED

    def _problem(self) -> tuple[Ending, errors.ApiError] | None:
        """What broke the stream, if anything did."""
        if self.events.failed is not None:
            return Ending.ENGINE_DIED, errors.from_stream(self.events.failed)
        if self._cut:
            return Ending.STOPPED, errors.Stopping("This server is shutting down; the answer was cut short.")
        if isinstance(self._fault, EngineSilent):
            return Ending.ENGINE_HUNG, errors.EngineHung("The engine stopped in the middle of the answer.")
        if self._fault is not None or not self.events.done:
            return Ending.ENGINE_DIED, errors.EngineFault("The engine broke off in the middle of the answer.")
        return None

    # Called from the engine's connection.

    def data(self, data: bytes) -> None:
        """The engine's next bytes: counted, edited, sent on."""
        try:
            out = self.events.feed(data)
        except EventTooLarge:
            if self._exchange is not None:
                self._exchange.abort()
            self.ended(EngineNonsense("an event is too large", answered=True))
            return
        meter, hold = self.events.meter, self._hold
        if meter.is_final:
            self._settle(self._peaceful())
        else:
            self._settlement.count(meter.prompt_tokens, meter.completion_tokens)
            if hold is not None and meter.completion_tokens >= hold.trigger and not self._limited:
                self._limited = not hold.grow(meter.prompt_tokens, meter.completion_tokens)
                if self._limited:
                    self._hang_up()
        if out and not self._left:
            self._pass_on(out)

    def ended(self, fault: UpstreamFault | None) -> None:
        """The engine's side is over."""
        self._ended = True
        self._exchange = None
        self._fault = self._fault or fault
        if self._limited:
            self._settle(self._peaceful())  # the count is whole: what is left of the hold need not wait
        elif not self._blocked and not self._left and self._problem() is None:
            self._settle(Ending.FINISHED)
            self._answer.line.end()  # with the last chunk, in one write
            self._is_told = True
        self._wake.set()

    # Called from the client's connection, and at shutdown.

    def client_left(self) -> None:
        """The client has gone: the engine is told, and what it still says is counted."""
        if not self._left and not self._ended:
            self._left = True
            self._hang_up()

    def cut(self) -> None:
        """Ends the stream now."""
        if not self._ended:
            self._cut = True
            self._hang_up()

    # Within.

    def _hang_up(self) -> None:
        if self._exchange is not None:
            self._exchange.half_close()

    def _pass_on(self, data: bytes) -> None:
        if self._answer.line.chunk(data) or self._blocked:
            return
        self._blocked = True
        if self._exchange is not None and not self._limited:  # what a drain tells is little, and wanted soon
            self._exchange.pause()
        self._wake.set()

    def _settle(self, ending: Ending) -> None:
        """Settles with the count as known now, if that has not happened yet."""
        if not self._settlement.is_open:
            return
        usage, source = self.events.meter.reading()
        if source is UsageSource.UNRESOLVED and self._left and not isinstance(self._fault, EngineSilent):
            source = UsageSource.RUNNING  # the engine was told before its first token, and counted none
        self._settlement.settle(ending, 200, usage, source)
