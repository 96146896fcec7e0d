"""The relay: a call goes to an engine, its answer comes back, and what it used is settled.

Reads top-down as the flow. Owns which replica is tried and when another may be, and the unstreamed call; a
stream's way is `streaming`'s. Rules: another replica is tried only as long as no byte has come; an
unstreamed call whose client has left goes on to its end and is billed the engine's last word.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from ledger.record import Ending
from ledger.usage import NO_USAGE, UsageSource
from proxy import errors, headers
from proxy.answer import Answer
from proxy.backends import Backend, Backends
from proxy.call import Call
from proxy.eager import Bell
from proxy.endpoints import GENERATE
from proxy.generate import simple_answer
from proxy.metering import UsageMissing, usage_of_answer
from proxy.settlement import Settlement
from proxy.streaming import RunningHold, StreamedCall
from proxy.upstream import BrokenOff, EngineGone, EngineSilent, EngineUnreachable, Exchange, UpstreamFault

ANSWER_BYTES_MAX: Final = 256 << 20
"""The longest unstreamed answer: 2048 embeddings of 4096 floats are about 160 MB of JSON."""

_BROKEN: Final = {EngineSilent: (Ending.ENGINE_HUNG, 504), BrokenOff: (Ending.STOPPED, 503)}
"""How an unstreamed call is settled that got no answer, and what its client is told."""

_log = logging.getLogger("metergate.relay")


class Relay:
    """Carries calls to engines and their answers back."""

    def __init__(self, backends: Backends) -> None:
        self._backends = backends
        self._streams: set[StreamedCall] = set()
        self._waiting: set[Exchange] = set()
        """Those of unstreamed calls, whose answer is not here yet."""
        self._is_cut = False
        self._none_streams = Bell()

    async def carry(
        self,
        call: Call,
        salt: str | None,
        settlement: Settlement,
        answer: Answer,
        hold: RunningHold | None = None,
    ) -> None:
        """Carries one admitted call to its end. Raises ApiError as long as no byte has gone to the client.

        `salt`: the tenant's, see `Call.engine_body`. `hold`: what a stream holds of its hard limits. An
        unstreamed call holds all it may need from the start.
        """
        try:
            if call.stream:
                await self._stream(call, salt, settlement, answer, hold)
            else:
                await self._whole(call, salt, settlement, answer)
        except EngineSilent as fault:
            raise errors.EngineHung("The engine did not answer in time.") from fault
        except BrokenOff as fault:
            raise errors.Stopping("This server is shutting down. Try again.") from fault
        except UpstreamFault as fault:
            raise errors.EngineUnavailable("The engine broke off before it answered. Try again.") from fault

    async def cut(self) -> None:
        """Ends every call that is still running, with a clear word to its client; returns when all streams
        are settled."""
        self._is_cut = True
        for exchange in tuple(self._waiting):
            exchange.break_off()
        for stream in tuple(self._streams):
            stream.cut()
        while self._streams:
            self._none_streams.clear()
            await self._none_streams

    async def _stream(
        self,
        call: Call,
        salt: str | None,
        settlement: Settlement,
        answer: Answer,
        hold: RunningHold | None,
    ) -> None:
        stream = StreamedCall(call, settlement, answer, hold)
        self._streams.add(stream)
        answer.line.when_gone(stream.client_left)
        try:
            backend = await self._ask(call, salt, settlement, stream.begin)
            call.forget_fields()
            stream.events.fingerprint = backend.fingerprints.get(call.model)
            await stream.run()
            if stream.events.fingerprint:
                backend.fingerprints[call.model] = stream.events.fingerprint
        finally:
            stream.close()
            self._streams.discard(stream)
            if not self._streams:
                self._none_streams.set()

    async def _whole(self, call: Call, salt: str | None, settlement: Settlement, answer: Answer) -> None:
        status, whole = 0, b""

        async def wait(exchange: Exchange) -> None:
            nonlocal status, whole
            self._waiting.add(exchange)
            if self._is_cut:
                exchange.break_off()
            try:
                whole = await exchange.whole(ANSWER_BYTES_MAX)
                status = exchange.status
            finally:
                self._waiting.discard(exchange)

        try:
            await self._ask(call, salt, settlement, wait)
        except UpstreamFault as fault:
            # The engine took the call and may have made tokens; nobody knows how many.
            ending, told = _BROKEN.get(type(fault), (Ending.ENGINE_DIED, 503))
            settlement.settle(ending, told, NO_USAGE, UsageSource.UNRESOLVED)
            raise
        except asyncio.CancelledError:
            settlement.settle(Ending.STOPPED, 503, NO_USAGE, UsageSource.UNRESOLVED)
            raise
        settlement.answered()
        if status != 200:
            raise errors.from_engine(status, whole, call.model, call.endpoint.input_field)
        try:
            usage, source = usage_of_answer(whole), UsageSource.FINAL
        except UsageMissing:
            _log.warning("an answer without usage: request %s", settlement.request_id)
            usage, source = NO_USAGE, UsageSource.UNRESOLVED
        settlement.settle(Ending.FINISHED, 200, usage, source)
        answer.whole(200, headers.JSON, simple_answer(whole) if call.endpoint is GENERATE else whole)

    async def _ask(
        self,
        call: Call,
        salt: str | None,
        settlement: Settlement,
        wait: Callable[[Exchange], Awaitable[None]],
    ) -> Backend:
        """Sends the call to a replica and waits for its first byte; as long as none has come, tries another.

        A connection that had been idle and turns out dead is no fault of the engine's: it gets a new one.
        Raises EngineUnavailable, and the UpstreamFault of `wait` where trying again could bill a call
        twice.
        """
        tried: list[Backend] = []
        stale: Backend | None = None
        while (backend := stale or self._backends.pick(call.model, tried)) is not None:
            exchange = None
            try:
                settlement.sent(backend.url)
                exchange = await backend.pool.post(
                    call.endpoint.engine_path,
                    call.engine_body(salt),
                    settlement.request_id,
                    fresh=stale is not None,
                )
                await wait(exchange)
                return backend
            except (EngineUnreachable, EngineGone) as fault:
                if fault.answered:
                    raise
                _log.warning("%s: %s", backend.url, fault)
                stale = backend if exchange is not None and exchange.used_before and stale is None else None
                if stale is None:
                    tried.append(backend)
            except asyncio.CancelledError:
                if exchange is not None:
                    exchange.abort()
                raise
        raise errors.EngineUnavailable(
            f"No engine that serves `{call.model}` answers at the moment. Try again."
        )
