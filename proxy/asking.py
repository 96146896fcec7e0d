"""Questions to an engine off the hot path, with its own small client: which models it has, how many tokens.

Owns one question and its answer, whole. Rules: a connection that had been idle and turns out to be closed
is no answer, and a fresh one is tried once; whoever stops waiting leaves no connection behind. Must not know
what is asked.
"""

import asyncio
from typing import Final

from proxy.pool import Pool
from proxy.upstream import Exchange, UpstreamFault

ANSWER_BYTES_MAX: Final = 16 << 20
"""A list of models with thousands of adapters is some megabytes."""

Answer = tuple[int, bytes]
"""Status and body."""


async def ask(pool: Pool, path: str, body: bytes | None, timeout_seconds: float) -> Answer:
    """GETs `path`, or POSTs a JSON body to it. Raises UpstreamFault, TimeoutError."""
    async with asyncio.timeout(timeout_seconds):
        exchange = await _send(pool, path, body, fresh=False)
        try:
            return await _answer(exchange)
        except UpstreamFault as fault:
            if fault.answered or not exchange.used_before:
                raise
        return await _answer(await _send(pool, path, body, fresh=True))


async def _send(pool: Pool, path: str, body: bytes | None, *, fresh: bool) -> Exchange:
    return await (pool.get(path, fresh=fresh) if body is None else pool.post(path, body, "", fresh=fresh))


async def _answer(exchange: Exchange) -> Answer:
    try:
        body = await exchange.whole(ANSWER_BYTES_MAX)
    except asyncio.CancelledError:
        exchange.abort()
        raise
    return exchange.status, body
