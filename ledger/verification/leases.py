"""What is leased of limits, and by whom: as things stand now, whatever month is looked at.

What is used and leased together passes a hard limit only where the limit was lowered, or something was used
without a lease: while the database was away (`fail_open`), or by a worker whose leases had expired when its
calls were posted. None of that is a fault of the book, so it is a notice.
"""

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from ledger import lease_rows
from ledger.lease_terms import BalanceKey
from ledger.leases import LEASES_LOST_S
from ledger.limits import Limit
from ledger.reports import ExactSum
from ledger.tables import Table
from ledger.verification.balances import shown
from ledger.verification.findings import Check, Findings, Notice

_BALANCES: Final = Table.metadata.tables["limit_balance"]
_LEASES: Final = Table.metadata.tables["lease"]
_HOLDERS: Final = Table.metadata.tables["lease_holder"]
_LATE_US: Final = int(2 * LEASES_LOST_S * 1_000_000)


async def check_leases(
    session: AsyncSession, findings: Findings, limits: Mapping[str, Limit], now_us: int
) -> None:
    """What is leased of every balance of these limits, and every lease's holder."""
    now_us = await lease_rows.now(await session.connection(), now_us)
    await _check_balances(session, findings, limits, now_us)
    await _check_holders(session, findings, now_us)


async def _check_balances(
    session: AsyncSession, findings: Findings, limits: Mapping[str, Limit], now_us: int
) -> None:
    result = findings[Check.LEASES]
    key = (_LEASES.c.limit_id, _LEASES.c.end_user, _LEASES.c.window_us)
    query = select(*key, ExactSum(_LEASES.c.held), func.min(_LEASES.c.held)).group_by(*key)
    held: dict[BalanceKey, int] = {}
    for limit_id, end_user, window_us, sum_of, least in await session.execute(query):
        balance = BalanceKey(limit_id, end_user, int(window_us))
        if limit_id in limits:
            held[balance] = sum_of
        if least < 0:
            result.add(shown(balance), f"a holder has {int(least)} of it")
    async for row in await session.stream(select(_BALANCES)):
        limit = limits.get(row.limit_id)
        if limit is not None:
            result.looked_at += 1
            balance = BalanceKey(row.limit_id, row.end_user, int(row.window_us))
            is_now = limit.span(now_us)[0] == balance.window_us
            _judge(findings, limit, balance, row, held.pop(balance, 0), is_now=is_now)
    for balance, amount in held.items():
        result.looked_at += 1
        result.add(shown(balance), f"holders have {amount} of it, and it has no balance")


def _judge(findings: Findings, limit: Limit, key: BalanceKey, row: Any, held: int, *, is_now: bool) -> None:
    used, leased = int(row.used), int(row.leased)
    if leased != held:
        findings[Check.LEASES].add(shown(key), f"its balance says {leased} leased, its holders have {held}")
    elif min(used, leased) < 0:
        findings[Check.LEASES].add(shown(key), f"its balance says {used} used and {leased} leased")
    elif is_now and used + leased > limit.max_value and not limit.soft:
        what = f"{used} used and {leased} leased of {limit.max_value}"
        findings.note(Notice.LIMIT_PASSED, shown(key), what)


async def _check_holders(session: AsyncSession, findings: Findings, now_us: int) -> None:
    query = (
        select(
            _LEASES.c.holder_id,
            _HOLDERS.c.id,
            _HOLDERS.c.host,
            _HOLDERS.c.worker,
            _HOLDERS.c.seen_us,
            func.count(),
        )
        .select_from(_LEASES.outerjoin(_HOLDERS, _HOLDERS.c.id == _LEASES.c.holder_id))
        .group_by(_LEASES.c.holder_id, *_HOLDERS.c)
        .order_by(_LEASES.c.holder_id)
    )
    for holder_id, known, host, worker, seen_us, leases in await session.execute(query):
        if known is None:
            findings[Check.LEASES].add(holder_id, f"{leases} leases of a holder that has ended")
        elif seen_us < now_us - _LATE_US:
            findings.note(
                Notice.HOLDER_SILENT,
                holder_id,
                f"worker {worker} of {host} has {leases} leases and has not been heard of for long",
            )
