"""The daily sums, against the hours that were added up: a UTC day at a time, once its hours are through.

Rules: a day is compared where all of it was looked at. Of hours whose rows are detached only the hourly sums
are there, which do not say what rated them: their day is compared without that.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from sqlalchemy import Table as SqlTable
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from ledger.periods import DAY_US, iso
from ledger.tables import Table
from ledger.usage import UsageSource
from ledger.verification.findings import Check, Findings, Result
from ledger.verification.hours import Group, Rated, Sums, within

_KEY: Final = ("tenant_id", "project_id", "api_key_id", "model", "endpoint", "price_version_id")
_TABLES: Final[tuple[tuple[SqlTable, tuple[str, ...]], ...]] = (
    (Table.metadata.tables["usage_day"], _KEY),
    (Table.metadata.tables["project_day"], tuple(name for name in _KEY if name != "api_key_id")),
)
_COUNTS: Final = ("calls", "prompt_tokens", "cached_prompt_tokens", "completion_tokens")

Key = tuple[str, ...]
Counts = tuple[int, ...]


class Days:
    """What the hours of the days come to that are not compared yet."""

    def __init__(self, from_us: int | None, until_us: int | None) -> None:
        """The span of whole hours that is looked at; None has no end."""
        self._next_us = 0 if from_us is None else -(-from_us // DAY_US) * DAY_US
        self._until_us = None if until_us is None else until_us - until_us % DAY_US
        self._sums: dict[int, dict[Key, Counts]] = {}
        self._unrated: set[int] = set()

    def add(self, hour_us: int, rated: Iterable[Rated]) -> None:
        """The rows of an hour, which are there."""
        for part in rated:
            is_lost = part.group.usage_source == UsageSource.UNRESOLVED.value
            self._add(hour_us, part.group, "" if is_lost else part.price_version_id or "", part.sums)

    def add_detached(self, hour_us: int, kept: Mapping[Group, Sums]) -> None:
        """The sums of an hour, whose rows are elsewhere."""
        self._unrated.add(hour_us - hour_us % DAY_US)
        for group, sums in kept.items():
            self._add(hour_us, group, "", sums)

    async def compare(self, session: AsyncSession, findings: Findings, before_us: int | None = None) -> None:
        """Each day that ends by then, or every one that is left."""
        ends = [end_us for end_us in (before_us, self._until_us) if end_us is not None]
        end_us = min(ends) - min(ends) % DAY_US if ends else None
        if end_us is not None and end_us <= self._next_us:
            return
        kept = await _days_of(session, self._next_us, end_us)
        for day_us in sorted({*self._sums, *kept}):
            if day_us >= self._next_us and (end_us is None or day_us < end_us):
                await self._compare(session, findings[Check.DAYS], day_us)
        if end_us is not None:
            self._next_us = max(self._next_us, end_us)
            self._sums = {day_us: sums for day_us, sums in self._sums.items() if day_us >= end_us}

    def _add(self, hour_us: int, group: Group, version_id: str, sums: Sums) -> None:
        day = self._sums.setdefault(hour_us - hour_us % DAY_US, {})
        _add(day, (*(getattr(group, name) for name in _KEY[:-1]), version_id), sums[: len(_COUNTS)])

    async def _compare(self, session: AsyncSession, result: Result, day_us: int) -> None:
        expected = self._sums.get(day_us, {})
        for table, names in _TABLES:
            places = [_KEY.index(name) for name in names]
            kept = await _kept(session, table, names, day_us)
            by_rows = narrowed(expected, places)
            if day_us in self._unrated:
                rest = range(len(names) - 1)  # but for what rated them, the last
                kept, by_rows = narrowed(kept, rest), narrowed(by_rows, rest)
            compare_counts(result, f"{table.name} {iso(day_us)[:10]}", by_rows, kept)


def _add(sums: dict[Key, Counts], key: Key, counts: Iterable[int]) -> None:
    before = sums.get(key)
    sums[key] = tuple(counts) if before is None else tuple(map(sum, zip(before, counts, strict=True)))


def narrowed(sums: Mapping[Key, Counts], places: Iterable[int]) -> dict[Key, Counts]:
    """The same of fewer names together."""
    narrowed: dict[Key, Counts] = {}
    kept = list(places)
    for key, counts in sums.items():
        _add(narrowed, tuple(key[place] for place in kept), counts)
    return narrowed


async def _days_of(session: AsyncSession, from_us: int, end_us: int | None) -> list[int]:
    """The days that have sums."""
    days: list[int] = []
    for table, _ in _TABLES:
        at_us: int | None = from_us
        while at_us is not None:
            query = within(select(func.min(table.c.day_us)), table.c.day_us, at_us, end_us)
            found = (await session.execute(query)).scalar_one()
            at_us = None if found is None else found + 1
            days += [] if found is None else [found]
    return days


async def _kept(session: AsyncSession, table: SqlTable, names: Key, day_us: int) -> dict[Key, Counts]:
    query: Any = select(*(table.c[name] for name in (*names, *_COUNTS))).where(table.c.day_us == day_us)
    depth = len(names)
    return {tuple(row[:depth]): tuple(row[depth:]) for row in await session.execute(query)}


def compare_counts(
    result: Result, where: str, rows: Mapping[Key, Counts], kept: Mapping[Key, Counts]
) -> None:
    """What a book keeps, against what its rows give."""
    for key in sorted(rows.keys() | kept.keys()):
        result.looked_at += 1
        by_rows, by_sums = rows.get(key), kept.get(key)
        if by_rows == by_sums:
            continue
        shown = " / ".join((where, *(name or "-" for name in key)))
        if by_sums is None:
            result.add(shown, f"there is no sum, and rows give {_told(by_rows)}")
        elif by_rows is None:
            result.add(shown, f"the sum is {_told(by_sums)}, and there is no row")
        else:
            result.add(shown, f"the sum is {_told(by_sums)}, its rows give {_told(by_rows)}")


def _told(counts: Counts | None) -> str:
    assert counts is not None
    calls, prompt, cached, completion = counts
    return f"{calls} calls, {prompt} ({cached} cached) + {completion} tokens"
