"""Lists in OpenAI's shape: what they are asked with, and a page of one.

A parameter that a list has not is refused, not ignored: a filter that is mistyped must not show everything.
"""

from collections.abc import Sequence
from typing import Annotated, Generic, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from ledger.object_pages import PageWish

US_PER_SECOND = 1_000_000

After = Annotated[str | None, Field(description="The id of the object that the page begins after")]
Before = Annotated[str | None, Field(description="The id of the object that the page ends before")]
Order = Annotated[Literal["asc", "desc"], Field(description="By the time of creation")]


class Listed(BaseModel):
    """An object of a list."""

    id: str


T = TypeVar("T", bound=Listed)


class ObjectList(BaseModel, Generic[T]):
    """OpenAI's list: a page, and whether there is more."""

    object: Literal["list"] = "list"
    data: list[T]
    first_id: str | None
    last_id: str | None
    has_more: bool

    @classmethod
    def of(cls, objects: Sequence[T], *, has_more: bool) -> Self:
        """A page of these objects."""
        return cls(
            data=list(objects),
            first_id=objects[0].id if objects else None,
            last_id=objects[-1].id if objects else None,
            has_more=has_more,
        )


class ListQuery(BaseModel):
    """How a list is asked for."""

    model_config = ConfigDict(extra="forbid")

    limit: Annotated[int, Field(ge=1, le=100)] = 20
    after: After = None

    def wish(self) -> PageWish:
        """The page that is meant."""
        return PageWish(self.limit, self.after)


class OrderedListQuery(ListQuery):
    """Of a list that can be had the other way round."""

    order: Order = "asc"

    def wish(self) -> PageWish:
        """The page that is meant."""
        return PageWish(self.limit, self.after, newest_first=self.order == "desc")


def seconds(at_us: int) -> int:
    """A time as OpenAI tells it."""
    return at_us // US_PER_SECOND


def seconds_or_none(at_us: int | None) -> int | None:
    """A time that may not be."""
    return None if at_us is None else seconds(at_us)
