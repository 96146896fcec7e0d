"""Pages of a list, by keyset: a page begins behind the place where the one before it ended.

A place is the values that the list is ordered by, the last of them an id: it stays where it is whatever is
made or removed meanwhile, and finding it costs the same on the first page and on the last. What was there
all the time comes once; what is made meanwhile comes or not. Native lists give places to clients as opaque
text; those of OpenAI's API name them by ids (ledger/object_pages.py), and walk by the same `Order`.
"""

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from sqlalchemy import tuple_

from ledger.errors import Refused

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

T = TypeVar("T")
Value = str | int

PLACE_CHARS_MAX: Final = 4096  # a model's name has 512 characters, each of which may be escaped
_INT_MAX: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Cut:
    """Which page is wanted: so many, behind a place."""

    limit: int
    after: str | None = None


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some of a list, in its order; `next_after` is the place behind them, None where nothing follows."""

    rows: list[T]
    next_after: str | None


@dataclass(frozen=True, slots=True)
class Order(Generic[T]):
    """What a list is ordered by: expressions, and the values that a row of it has for them. `kinds` are those
    values' types.
    """

    columns: Sequence[Any]
    kinds: Sequence[type[Value]]
    values: Callable[[T], Sequence[Value]]

    async def page(self, session: "AsyncSession", query: Any, cut: Cut) -> Page[T]:
        """The page of what a Select without an order finds. Raises Refused for a place that is none."""
        after = None if cut.after is None else read_place(cut.after, self.kinds)
        rows, goes_on = await self.walk(session, query, cut.limit, after)
        return Page(rows, write_place(self.values(rows[-1])) if goes_on else None)

    async def walk(
        self,
        session: "AsyncSession",
        query: Any,
        limit: int,
        after: Sequence[Value] | None = None,
        before: Sequence[Value] | None = None,
        *,
        is_reversed: bool = False,
    ) -> tuple[list[T], bool]:
        """At most `limit` rows behind a place, before one, or between two, and whether there are more: behind
        them, or before them where only `before` is given. `is_reversed`: the last one first.
        """
        key = tuple_(*self.columns)
        if after is not None:
            query = query.where(key < tuple_(*after) if is_reversed else key > tuple_(*after))
        if before is not None:
            query = query.where(key > tuple_(*before) if is_reversed else key < tuple_(*before))
        is_backwards = before is not None and after is None  # those next to `before`, then
        falls = is_reversed != is_backwards
        query = query.order_by(*(column.desc() if falls else column for column in self.columns))
        found = await session.execute(query.limit(limit + 1))
        rows: list[T] = [*(found.scalars() if len(query.column_descriptions) == 1 else found)]
        goes_on = len(rows) > limit
        rows = rows[:limit]
        if is_backwards:
            rows.reverse()
        return rows, goes_on


def write_place(values: Sequence[Value]) -> str:
    """A place as text for a URL."""
    return base64.urlsafe_b64encode(json.dumps(list(values)).encode()).decode().rstrip("=")


def read_place(text: str, kinds: Sequence[type[Value]]) -> list[Value]:
    """The values. Raises Refused for what `write_place` did not write for such a list."""
    try:
        if len(text) > PLACE_CHARS_MAX:
            raise ValueError
        values = json.loads(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True))
        if not isinstance(values, list) or [type(value) for value in values] != list(kinds):
            raise ValueError
        if any(isinstance(value, int) and abs(value) > _INT_MAX for value in values):
            raise ValueError
        if any(isinstance(value, str) and not _is_text(value) for value in values):
            raise ValueError
    except (ValueError, binascii.Error, RecursionError):
        raise Refused("`after` is no place in this list: give the `next_after` of a page as it is") from None
    return values


def _is_text(value: str) -> bool:
    """Whether both databases take it."""
    return "\x00" not in value and value.isprintable()
