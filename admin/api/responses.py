"""What every endpoint may answer beside its own, and pages of lists."""

from collections.abc import Callable
from typing import Annotated, Any, Generic, TypeVar

from fastapi import Depends, Query
from pydantic import BaseModel, Field

from admin import openapi_errors
from admin.errors import ErrorBody
from ledger.places import PLACE_CHARS_MAX, Cut, Page

T = TypeVar("T")
R = TypeVar("R")

ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorBody, **openapi_errors.REFUSED},
    401: {"model": ErrorBody, **openapi_errors.UNAUTHENTICATED},
    403: {"model": ErrorBody, **openapi_errors.DENIED},
    404: {"model": ErrorBody, **openapi_errors.MISSING},
    500: {"model": ErrorBody, **openapi_errors.FAULT},
    503: {"model": ErrorBody, **openapi_errors.UNAVAILABLE},
}


PAGE_MAX = 1000
PAGE_USUAL = 100

Limit = Annotated[int, Query(ge=1, le=PAGE_MAX, description="How many at the most")]
After = Annotated[
    str | None,
    Query(max_length=PLACE_CHARS_MAX, description="Go on there: the `next_after` of the page before"),
]


async def cut(limit: Limit = PAGE_USUAL, after: After = None) -> Cut:
    """Which page is wanted."""
    return Cut(limit, after)


Wanted = Annotated[Cut, Depends(cut)]


class Listing(BaseModel, Generic[T]):
    """A page of a list. What is there all the time comes once, whatever is made or removed meanwhile."""

    data: list[T]
    has_more: bool = False
    next_after: Annotated[
        str | None, Field(description="For `after`, to go on behind this page; null where nothing follows")
    ] = None

    @classmethod
    def of(cls, page: Page[R], view: Callable[[R], T]) -> "Listing[T]":
        """The page, each row of it as `view` shows it."""
        return cls(
            data=[view(row) for row in page.rows],
            has_more=page.next_after is not None,
            next_after=page.next_after,
        )
