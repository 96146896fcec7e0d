"""The way through a span of time, page by page: which buckets a page holds, and the cursor to the next. Pure.

A walk's end is fixed by its first page and kept in the cursor, so that time which passes meanwhile adds
nothing to it. A cursor says where the next page begins, and is sealed with the question that it is a page of:
it continues that one and no other, at a place that a page ended at.
"""

import hashlib
import hmac
import re
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from typing import Final, Self

from ledger.buckets import MINUTE_US, BucketWidth, bucket_spans
from ledger.periods import DAY_US

US_PER_SECOND: Final = 1_000_000
SEAL_BYTES: Final = 8

_PLACES: Final = struct.Struct(">QQ")
_CURSOR: Final = re.compile(r"page_([A-Za-z0-9_-]{32})")


@dataclass(frozen=True, slots=True)
class Walk:
    """Buckets of one width from `from_us` on, in [.., end_us).

    `is_open`: it ends where the clock stood and not where its asker said, so its last bucket is read whole.
    """

    from_us: int
    end_us: int
    width: BucketWidth
    is_open: bool

    @classmethod
    def begin(cls, start_s: int, end_s: int | None, width: BucketWidth, now_us: int) -> Self:
        """From the minute of the start on, as OpenAI does; nothing is told of the time to come."""
        start_us, now_s = start_s * US_PER_SECOND, now_us // US_PER_SECOND
        is_open = end_s is None or end_s > now_s
        end_us = (now_s if end_s is None or is_open else end_s) * US_PER_SECOND
        return cls(start_us - start_us % MINUTE_US, end_us, width, is_open)

    @classmethod
    def begin_days(cls, start_s: int, end_s: int | None, now_us: int) -> Self:
        """As OpenAI has costs: whole days, the one that the end is in among them."""
        walk = cls.begin(start_s, end_s, BucketWidth.DAY, now_us)
        from_us = walk.from_us - walk.from_us % DAY_US
        return cls(from_us, -(-walk.end_us // DAY_US) * DAY_US, BucketWidth.DAY, is_open=False)

    def spans(self, limit: int) -> list[tuple[int, int]]:
        """The first buckets: when each begins and ends."""
        return bucket_spans(self.from_us, self.end_us, self.width.us, limit)

    def reads_until(self, spans: list[tuple[int, int]]) -> int:
        """Up to when the calls of these buckets started."""
        last_us = spans[-1][1]
        if self.is_open and last_us == self.end_us:
            return -(-last_us // self.width.us) * self.width.us
        return last_us

    def cursor(self, next_us: int, seal: bytes) -> str:
        """What continues at `next_us`; `seal` is the question's."""
        places = _PLACES.pack(self.end_us // US_PER_SECOND, next_us // US_PER_SECOND)
        return "page_" + urlsafe_b64encode(places + _sealed(seal, places)).decode()

    def resume(self, cursor: str, seal: bytes) -> Self | None:
        """Where a cursor continues; None if it is none of this question's."""
        found = _CURSOR.fullmatch(cursor)
        if found is None:
            return None
        given = urlsafe_b64decode(found[1])
        places = given[: _PLACES.size]
        if not hmac.compare_digest(given[_PLACES.size :], _sealed(seal, places)):
            return None
        end_s, next_s = _PLACES.unpack(places)
        is_open = self.is_open or end_s * US_PER_SECOND < self.end_us
        return type(self)(next_s * US_PER_SECOND, end_s * US_PER_SECOND, self.width, is_open)


def seal_of(pepper: bytes, tenant_id: str, question: str) -> bytes:
    """What cursors of a question are sealed with."""
    return hmac.digest(
        pepper, b"usage page\0" + tenant_id.encode() + b"\0" + question.encode(), hashlib.sha256
    )


def _sealed(seal: bytes, places: bytes) -> bytes:
    return hmac.digest(seal, places, hashlib.sha256)[:SEAL_BYTES]
