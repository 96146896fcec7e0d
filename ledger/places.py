"""Pages of a list, by keyset: a page begins behind the place where the one before it ended.

A place is the values that the list is ordered by, the last of them an id: it stays where it is whatever is
made or removed meanwhile, and finding it costs the same on the first page and on the last. What was there
all the time comes once; what is made meanwhile comes or not. Places are given to clients as opaque text.
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
        if cut.after is not None:
            query = query.where(tuple_(*self.columns) > tuple_(*read_place(cut.after, self.kinds)))
        query = query.order_by(*self.columns).limit(cut.limit + 1)
        found = await session.execute(query)
        rows: list[Any] = [*(found.scalars() if len(query.column_descriptions) == 1 else found)]
        if len(rows) <= cut.limit:
            return Page(rows, None)
        rows = rows[: cut.limit]
        return Page(rows, write_place(self.values(rows[-1])))


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
