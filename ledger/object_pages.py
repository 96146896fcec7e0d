"""Pages of a list of OpenAI's API: their places are ids of objects.

A list is in the order of creation, the id telling apart what was made at one instant, and is walked as every
list is (ledger/places.py). A page begins after (or ends before) the object of an id. That object may be
deleted by now: who deletes what a list shows, page by page, still sees all of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, Self, TypeVar

from sqlalchemy import ColumnElement, select
from sqlalchemy.ext.asyncio import AsyncSession

from ledger.errors import Refused
from ledger.places import Order

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class PageWish:
    """Which part of a list: at most `limit` objects, after one, before one, or between two."""

    limit: int
    after: str | None = None
    before: str | None = None
    newest_first: bool = False


@dataclass(frozen=True, slots=True)
class ObjectPage(Generic[R]):
    """Some of a list, in its order; the ids of its objects are the places. `has_more`: whether the list goes
    on, behind the page, or before it where only `before` was given.
    """

    rows: list[R]
    has_more: bool

    @classmethod
    def of(cls, found: Sequence[R], limit: int) -> Self:
        """Of what was found when one more than `limit` was asked for."""
        return cls(list(found[:limit]), len(found) > limit)


async def read_page(
    session: AsyncSession,
    table: type[R],
    wish: PageWish,
    scope: Sequence[ColumnElement[bool]],
    shown: Sequence[ColumnElement[bool]] = (),
) -> ObjectPage[R]:
    """A page of the rows that are in `scope` and are `shown`. The table has `id` and `created_us`.

    Raises Refused for an `after` or `before` that is not in `scope`.
    """
    columns: Any = table
    order: Order[R] = Order((columns.created_us, columns.id), (int, str), _values)
    after = None if wish.after is None else await _place(session, table, wish.after, scope, "after")
    before = None if wish.before is None else await _place(session, table, wish.before, scope, "before")
    query = select(table).where(*scope, *shown)
    return ObjectPage(
        *await order.walk(session, query, wish.limit, after, before, is_reversed=wish.newest_first)
    )


def _values(row: Any) -> tuple[int, str]:
    return row.created_us, row.id


async def _place(
    session: AsyncSession, table: type[Any], subject_id: str, scope: Sequence[ColumnElement[bool]], param: str
) -> tuple[int, str]:
    """Where an object is in the list."""
    query = select(table.created_us, table.id).where(table.id == subject_id, *scope)
    found = (await session.execute(query)).one_or_none()
    if found is None:
        raise Refused(f"the list has no object with the id {subject_id[:200]!r}", param=param)
    return found[0], found[1]
