"""Spans of time that reports and statements are about: UTC months, days and hours, as half-open [from_us,
until_us).

Pure.
"""

import re
from datetime import UTC, datetime

from ledger.errors import Refused

HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def month_span(month: str) -> tuple[int, int]:
    """The span of a month such as "2026-11". Raises Refused for anything else."""
    if not re.fullmatch(r"\d{4}-\d{2}", month, re.ASCII):
        raise Refused(f"{month!r} is no month: write it as 2026-11")
    try:
        begin = datetime(int(month[:4]), int(month[5:]), 1, tzinfo=UTC)
        end = begin.replace(year=begin.year + begin.month // 12, month=begin.month % 12 + 1)
    except ValueError:
        raise Refused(f"{month!r} is no month: write it as 2026-11") from None
    return to_us(begin), to_us(end)


def month_span_at(at_us: int) -> tuple[int, int]:
    """The span of the UTC month that an instant is in."""
    at = from_us(at_us)
    begin = datetime(at.year, at.month, 1, tzinfo=UTC)
    return to_us(begin), to_us(begin.replace(year=at.year + at.month // 12, month=at.month % 12 + 1))


def day_span(at_us: int) -> tuple[int, int]:
    """The span of the UTC day that an instant is in."""
    begin_us = at_us - at_us % DAY_US
    return begin_us, begin_us + DAY_US


def to_us(at: datetime) -> int:
    """Microseconds since the epoch of an aware datetime, exact."""
    since = at - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def from_us(at_us: int) -> datetime:
    """The datetime in UTC, exact."""
    seconds, micros = divmod(at_us, 1_000_000)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=micros)


def iso(at_us: int) -> str:
    """As exports write a time: 2026-11-22T18:35:17.000001Z, always with six decimals."""
    return f"{from_us(at_us).replace(tzinfo=None).isoformat(timespec='microseconds')}Z"
