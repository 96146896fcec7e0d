"""A page of a list, and whether more follows. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Self, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some of a list, in its order."""

    items: list[T]
    has_more: bool

    @classmethod
    def of(cls, found: Sequence[T], limit: int) -> Self:
        """Of what was found when one more than `limit` was asked for."""
        return cls(list(found[:limit]), len(found) > limit)
