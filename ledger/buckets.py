"""Buckets of time, and what of the book each part of a span is read from. Pure.

A span is cut at UTC boundaries of its buckets: its first and its last bucket may be parts. Whole days are
read from the daily sums, whole hours at the edges from the hourly ones, and what is left, less than an hour
at either end, from the rows themselves; buckets of minutes are read from rows alone. So a span between any
two instants is exact, and no more rows are looked at than it needs.
"""

from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Final

from ledger.periods import DAY_US, HOUR_US

MINUTE_US: Final = 60_000_000


class Grain(IntEnum):
    """What a part of a span is read from; the value is how long what one sum of it covers is."""

    ROW = 1
    HOUR = HOUR_US
    DAY = DAY_US


class BucketWidth(StrEnum):
    """How long a bucket is. The words are OpenAI's."""

    MINUTE = "1m"
    HOUR = "1h"
    DAY = "1d"

    @property
    def us(self) -> int:
        """In microseconds."""
        return {"1m": MINUTE_US, "1h": HOUR_US, "1d": DAY_US}[self.value]

    @property
    def grains(self) -> tuple[Grain, ...]:
        """What may be read for it, the coarsest first."""
        return tuple(grain for grain in (Grain.DAY, Grain.HOUR, Grain.ROW) if grain <= self.us)


@dataclass(frozen=True, slots=True)
class Part:
    """[from_us, until_us), read from one grain; of days and hours, whole ones."""

    grain: Grain
    from_us: int
    until_us: int

    @property
    def begins(self) -> range:
        """When the hours or days begin that it is made of."""
        assert self.grain is not Grain.ROW
        return range(self.from_us, self.until_us, self.grain)


def cut(from_us: int, until_us: int, grains: tuple[Grain, ...]) -> list[Part]:
    """The parts of a span, in the order of time, each of the coarsest grain that it may have."""
    if from_us >= until_us:
        return []
    grain, *finer = grains
    begin_us = -(-from_us // grain) * grain
    end_us = until_us - until_us % grain
    if begin_us >= end_us:
        return cut(from_us, until_us, tuple(finer))
    whole = Part(grain, begin_us, end_us)
    return [*cut(from_us, begin_us, tuple(finer)), whole, *cut(end_us, until_us, tuple(finer))]


def bucket_spans(from_us: int, until_us: int, width_us: int, most: int) -> list[tuple[int, int]]:
    """The buckets of a span in UTC, the first `most` of them; the first and the last may be parts."""
    spans: list[tuple[int, int]] = []
    begin_us = from_us
    while begin_us < until_us and len(spans) < most:
        end_us = min(begin_us - begin_us % width_us + width_us, until_us)
        spans.append((begin_us, end_us))
        begin_us = end_us
    return spans
