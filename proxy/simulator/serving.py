"""The flow of one generating call: slots, prefix cache, pace, stream or answer, and its account settled.

Whatever the end, the account says it, the slots are given back, and nothing goes on generating.
"""

import asyncio
from dataclasses import dataclass, replace

from proxy.simulator import chat, chat_rendering, completions
from proxy.simulator.accounts import Account, Ended
from proxy.simulator.batch import Batch, Choice
from proxy.simulator.config import SimulatorConfig
from proxy.simulator.exchange import ClientLeft, Exchange
from proxy.simulator.faults import Fault
from proxy.simulator.generation import generate
from proxy.simulator.heads import Head
from proxy.simulator.metrics import ModelCounters
from proxy.simulator.pace import Pace
from proxy.simulator.pacing import Pacer
from proxy.simulator.prefix_cache import PrefixCache
from proxy.simulator.runners import KEEP_ALIVE_EVENT, AnswerRunner, Events, StreamRunner
from proxy.simulator.slots import Slots
from proxy.simulator.usage import CacheUse
from proxy.simulator.wire import FaultyWire, Wire

Call = chat.ChatCall | completions.CompletionCall


@dataclass(frozen=True, slots=True)
class Generating:
    """What belongs to one generating call."""

    exchange: Exchange
    call: Call
    head: Head
    account: Account
    counters: ModelCounters
    fault: Fault


class Serving:
    """The engine's inside: shared by all calls."""

    def __init__(self, config: SimulatorConfig) -> None:
        self._config = config
        self._pacer = Pacer()
        self._slots = Slots(config.max_num_seqs, config.max_num_queued)
        self._cache = PrefixCache(config.block_size, config.blocks_kept)
        self.pace = Pace(config.tokens_per_second, config.first_token_delay_ms)

    async def serve(self, one: Generating) -> None:
        """Raises Overloaded before anything was sent, ClientLeft after the client has gone."""
        wanted = len(one.call.prompts) * one.call.sampling.n
        holds = False
        try:
            holds = self._slots.take_now(wanted, one.counters)
            if not holds:
                await self._wait_for_slots(one, wanted)
                holds = True
            batch, use = self._batch(one)
            await (self._stream(one, batch, use) if one.call.stream else self._answer(one, batch, use))
        except ClientLeft:
            if one.account.ended is Ended.RUNNING:
                one.account.end(Ended.ABORTED)
            raise
        finally:
            if holds:
                self._slots.give_back(wanted, one.counters)
            if one.account.ended is Ended.RUNNING:
                one.account.end(Ended.REFUSED)
            one.exchange.close()

    async def _wait_for_slots(self, one: Generating, wanted: int) -> None:
        turn = asyncio.ensure_future(self._slots.wait(wanted, one.counters))
        one.exchange.when_left(turn.cancel)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                raise ClientLeft from None
            raise

    def _batch(self, one: Generating) -> tuple[Batch, CacheUse]:
        call, sampling = one.call, one.call.sampling
        limits = sampling.limits(call.room_tokens)
        if limits.max_tokens == 0:
            limits = replace(limits, max_tokens=1)
        choices: list[Choice] = []
        cached = created = 0
        for prompt_index, prompt in enumerate(call.prompts):
            use = self._cache.admit(one.head.model, prompt, sampling.cache_salt)
            cached, created = cached + use.cached_tokens, created + use.created_tokens
            for choice in range(sampling.n):
                steps = generate(call.tokens(prompt_index, choice), limits)
                choices.append(Choice(len(choices), prompt, use, steps))
        one.account.prompt_tokens = sum(map(len, call.prompts))
        one.account.cached_prompt_tokens = cached
        return Batch(choices, one.account, one.counters), CacheUse(cached, created)

    async def _answer(self, one: Generating, batch: Batch, use: CacheUse) -> None:
        pace = self.pace.overridden(one.fault.tokens_per_second, one.fault.first_token_delay_ms)
        runner = AnswerRunner(batch, pace.interval_s)
        self._start(one, runner, pace)
        ended = await runner.over
        if ended is not Ended.FINISHED:
            one.account.end(ended)
            raise ClientLeft
        details = self._config.prompt_tokens_details
        if isinstance(one.call, chat.ChatCall):
            body = chat_rendering.chat_answer(one.call, one.head, use, runner.made, details)
        else:
            body = completions.completion_answer(one.call, one.head, use, runner.made, details)
        if one.fault.break_answer_at_byte is not None:
            one.account.end(Ended.DIED)
            await one.exchange.break_off(body, one.fault.break_answer_at_byte)
            raise ClientLeft
        one.account.end(ended)
        await one.exchange.answer(200, body, (one.fault.content_type or "application/json").encode())

    def _start(self, one: Generating, runner: AnswerRunner | StreamRunner, pace: Pace) -> None:
        delay_s: float | None = pace.first_delay_s
        if not delay_s:
            # Most short calls of a fast engine end here, and need no watch.
            delay_s = runner.step()
        if delay_s is not None:
            self._pacer.start(runner, delay_s)
        if not runner.over.done():
            one.exchange.when_left(runner.leave)

    def _events(self, one: Generating, use: CacheUse) -> Events:
        fault, details = one.fault, self._config.prompt_tokens_details
        usage, running = not fault.omit_usage, not fault.omit_running_usage
        if isinstance(one.call, chat.ChatCall):
            return chat_rendering.ChatEvents(
                one.call, one.head, use, details=details, usage=usage, running=running
            )
        return completions.CompletionEvents(
            one.call, one.head, use, details=details, usage=usage, running=running
        )

    async def _stream(self, one: Generating, batch: Batch, use: CacheUse) -> None:
        exchange, fault = one.exchange, one.fault
        pace = self.pace.overridden(fault.tokens_per_second, fault.first_token_delay_ms)
        content_type = fault.content_type or "text/event-stream; charset=utf-8"
        await exchange.start(200, content_type.encode(), None)
        wire = _wire(exchange, fault)
        runner = StreamRunner(
            batch,
            self._events(one, use),
            wire,
            interval_s=pace.interval_s,
            stream_interval=one.call.sampling.stream_interval,
            fault=fault,
        )
        self._start(one, runner, pace)
        ended = await self._kept_alive(runner)
        one.account.chunks_sent -= runner.withheld  # the client left before they went out
        one.account.end(ended)
        if ended in (Ended.FINISHED, Ended.ERRORED) and not wire.gone:
            await exchange.end()
        else:
            await exchange.see_off()

    async def _kept_alive(self, runner: StreamRunner) -> Ended:
        interval_s = self._config.sse_keep_alive_interval_ms / 1000
        while interval_s > 0 and not runner.over.done():
            writes = runner.wire.writes
            await asyncio.wait((runner.over,), timeout=interval_s)
            if not runner.over.done() and runner.wire.writes == writes:
                runner.wire.write([KEEP_ALIVE_EVENT])
        return await runner.over


def _wire(exchange: Exchange, fault: Fault) -> Wire:
    if fault.split_at_byte is None and fault.split_seed is None and fault.coalesce_events <= 1:
        return Wire(exchange.transport)
    return FaultyWire(
        exchange.transport,
        cut_at_byte=fault.split_at_byte,
        cut_seed=fault.split_seed,
        coalesce_events=fault.coalesce_events,
    )
