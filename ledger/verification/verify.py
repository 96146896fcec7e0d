"""All checks on one snapshot: the rows hour by hour, what they make of sums and limits, leases, and the
audit log.

It reads on a snapshot of its own, so postings go on and are not in it. Nothing waits for it: on PostgreSQL
rows that are deleted meanwhile stay on disk, on SQLite the write-ahead log grows, until it ends.
"""

from collections.abc import Mapping
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from ledger import partitions
from ledger.audit_chain import Head
from ledger.limit_settings import list_set
from ledger.limits import LimitNature
from ledger.periods import HOUR_US, iso, month_span_at
from ledger.price_book import PriceBook
from ledger.verification import balances as spent
from ledger.verification.audit import check_audit
from ledger.verification.balances import Balances
from ledger.verification.days import Counts, Days, Key, compare_counts, narrowed
from ledger.verification.findings import Check, Findings, Notice
from ledger.verification.hours import (
    KEY,
    PROJECT_KEY,
    Group,
    Rated,
    Sums,
    next_hour,
    project_rollups,
    rated_rows,
    rollups,
)
from ledger.verification.keys import check_keys
from ledger.verification.leases import check_leases
from ledger.verification.rows import check_ids, check_prices, check_rows

HOUR_MS_MAX: Final = 55_000
"""What a statement over one hour may take on PostgreSQL; the connection gives up at 60 s."""


async def verify(
    session: AsyncSession, now_us: int, span: tuple[int, int] | None = None, noted: Head | None = None
) -> Findings:
    """Looks at the whole book, or at the calls that started in a span of whole hours and at the limits whose
    windows lie in it; at keys always, and at the audit log from its first event on. `noted`: a head of it
    that was kept elsewhere.
    """
    findings = await _Verification(session, now_us, span).run()
    await check_keys(session, findings)
    await check_audit(session, findings, noted)
    return findings


class _Verification:
    def __init__(self, session: AsyncSession, now_us: int, span: tuple[int, int] | None) -> None:
        self._session = session
        self._now_us = now_us
        self._span = span
        self._from_us: int | None = None if span is None else span[0]
        self._until_us: int | None = None if span is None else span[1]
        self._findings = Findings()
        self._days = Days(self._from_us, self._until_us)
        self._detached: dict[int, bool] = {}

    async def run(self) -> Findings:
        session, findings = self._session, self._findings
        if session.get_bind().dialect.name == "postgresql":
            await session.execute(text(f"SET LOCAL statement_timeout = {HOUR_MS_MAX}"))
        book = PriceBook()
        await book.refresh(await session.connection())
        limits = await list_set(session)
        consumable = [(limit, at) for limit, at in limits if limit.nature is LimitNature.CONSUMABLE]
        balances = Balances(consumable, self._span, self._now_us)
        await check_ids(session, findings, self._from_us, self._until_us)
        hour_us = await next_hour(session, self._from_us, self._until_us)
        while hour_us is not None:
            await balances.compare(session, findings, hour_us)
            await self._days.compare(session, findings, hour_us)
            await self._hour(hour_us, book, balances)
            hour_us = await next_hour(session, hour_us + HOUR_US, self._until_us)
        await balances.compare(session, findings)
        await self._days.compare(session, findings)
        await balances.compare_rest(session, findings)
        await check_leases(session, findings, {limit.id: limit for limit, _ in limits}, self._now_us)
        return findings

    async def _hour(self, hour_us: int, book: PriceBook, balances: Balances) -> None:
        session, findings = self._session, self._findings
        rated = await rated_rows(session, hour_us)
        kept = await rollups(session, hour_us)
        await check_rows(session, findings, rated, hour_us)
        await check_prices(session, findings, rated, book)
        rows = _by_group(rated)
        if rows != kept and await self._is_elsewhere(hour_us, rows):
            balances.add_detached(hour_us, spent.of_sums(kept))
            self._days.add_detached(hour_us, kept)
            await self._projects(hour_us, kept)
            return
        self._days.add(hour_us, rated)
        _compare(findings, rows, kept)
        await self._projects(hour_us, rows)
        balances.add(hour_us, spent.of_calls(rated))
        if balances.tenants_of_users and rated:
            balances.add(hour_us, await spent.of_users(session, hour_us, balances.tenants_of_users))

    async def _projects(self, hour_us: int, groups: Mapping[Group, Sums]) -> None:
        counts: dict[Key, Counts] = {group[1:]: sums[:4] for group, sums in groups.items()}
        by_project = narrowed(counts, [KEY.index(name) for name in PROJECT_KEY])
        kept = await project_rollups(self._session, hour_us)
        result = self._findings[Check.ROLLUPS]
        compare_counts(result, f"project_hour {iso(hour_us)[:16]}Z", by_project, kept)

    async def _is_elsewhere(self, hour_us: int, rows: Mapping[Group, Sums]) -> bool:
        """Whether the rows of an hour may be in a partition that an operator has detached: the hour's month
        is in none, or the hour begins a month, and calls of its first moments are in the one before.
        """
        begin_us = month_span_at(hour_us)[0]
        if not rows and await self._is_detached(begin_us):
            return True
        return hour_us == begin_us and await self._is_detached(month_span_at(begin_us - 1)[0])

    async def _is_detached(self, month_us: int) -> bool:
        if month_us not in self._detached:
            connection = await self._session.connection()
            self._detached[month_us] = await connection.run_sync(partitions.is_detached, month_us)
            if self._detached[month_us]:
                month = partitions.partition_name(month_us)
                self._findings.note(
                    Notice.MONTH_DETACHED,
                    iso(month_us)[:7],
                    f"no partition {month}: its rows were not looked at",
                )
        return self._detached[month_us]


def _by_group(rated: list[Rated]) -> dict[Group, Sums]:
    sums: dict[Group, Sums] = {}
    for part in rated:
        before = sums.get(part.group)
        sums[part.group] = (
            part.sums if before is None else Sums._make(map(sum, zip(before, part.sums, strict=True)))
        )
    return sums


def _compare(findings: Findings, rows: Mapping[Group, Sums], kept: Mapping[Group, Sums]) -> None:
    result = findings[Check.ROLLUPS]
    for group in sorted(rows.keys() | kept.keys()):
        result.looked_at += 1
        by_rows, by_sums = rows.get(group), kept.get(group)
        if by_rows == by_sums:
            continue
        shown = " / ".join((iso(group.hour_us)[:16] + "Z", *group[1:]))
        if by_sums is None:
            result.add(shown, f"there is no sum, and rows give {_told(by_rows)}")
        elif by_rows is None:
            result.add(shown, f"the sum is {_told(by_sums)}, and there is no row")
        else:
            result.add(shown, f"the sum is {_told(by_sums)}, its rows give {_told(by_rows)}")


def _told(sums: Sums | None) -> str:
    assert sums is not None
    calls, prompt, cached, completion, amount = sums
    return f"{calls} calls, {prompt} ({cached} cached) + {completion} tokens, {amount} picos"
