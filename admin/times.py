"""Times as people write them: ISO 8601, durations such as 30d. Pure: the clock is an argument.

Inside, a time is microseconds since the Unix epoch. A time without an offset is UTC: the ledger's windows
are.
"""

import re
from datetime import UTC, datetime, timedelta

from ledger.errors import Refused

US_PER_SECOND = 1_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DURATION = re.compile(r"([1-9][0-9]{0,5})(s|m|h|d|w)")
_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def parse_instant(text: str) -> int:
    """Microseconds of an ISO 8601 date or time: 2026-12-31, 2026-12-31T23:59:59Z. Raises Refused."""
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise Refused(f"{text!r} is not a time: write ISO 8601, such as 2026-12-31T23:59:59Z") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    try:
        return _microseconds(moment)
    except OverflowError:
        raise Refused(f"{text!r} is out of range") from None


def parse_expiry(text: str, now_us: int) -> int:
    """Microseconds of a time (ISO 8601), or of `now` plus a duration: 90s, 45m, 12h, 30d, 2w. Raises
    Refused.
    """
    duration = _DURATION.fullmatch(text.strip())
    if duration:
        return now_us + int(duration[1]) * _UNIT_SECONDS[duration[2]] * US_PER_SECOND
    try:
        return parse_instant(text)
    except Refused:
        raise Refused(
            f"{text!r} is no expiry: write a duration such as 30d, or a time such as 2026-12-31T23:59:59Z"
        ) from None


def parse_grace(text: str) -> int:
    """Microseconds of a duration (90s, 45m, 24h, 7d, 2w), or of 0. Raises Refused."""
    duration = _DURATION.fullmatch(text.strip())
    if duration:
        return int(duration[1]) * _UNIT_SECONDS[duration[2]] * US_PER_SECOND
    if text.strip() == "0":
        return 0
    raise Refused(f"{text!r} is no grace: write a duration such as 24h, or 0")


def parse_since(text: str, now_us: int) -> int:
    """Microseconds of a time (ISO 8601), or of `now` less a duration: 90s, 45m, 12h, 30d, 2w. Raises
    Refused.
    """
    duration = _DURATION.fullmatch(text.strip())
    if duration:
        return now_us - int(duration[1]) * _UNIT_SECONDS[duration[2]] * US_PER_SECOND
    try:
        return parse_instant(text)
    except Refused:
        raise Refused(
            f"{text!r} is no time to look back to: write a duration such as 24h, or a time such as "
            "2026-12-31T23:59:59Z"
        ) from None


def month_of(now_us: int) -> str:
    """The month, in UTC, that a time lies in, as ledger/periods.py reads it: `2026-11`."""
    return format_instant(now_us)[:7]


def format_instant(us: int) -> str:
    """ISO 8601 in UTC: 2026-11-22T18:00:00Z, with microseconds where there are any."""
    return (_EPOCH + timedelta(microseconds=us)).isoformat().replace("+00:00", "Z")


def _microseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)
