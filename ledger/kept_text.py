"""Pure: values that are kept in the ledger as JSON of their own, and read back whole.

Rows with the same text share one value: a project's list is not parsed and held once for each key.
"""

from functools import lru_cache
from typing import Protocol, Self, TypeVar


class Kept(Protocol):
    """A value that is kept as JSON of its own."""

    @classmethod
    def of_json(cls, text: str) -> Self:
        """The value that was written as `text`."""

    def to_json(self) -> str:
        """The value as text."""


K = TypeVar("K", bound=Kept)


def read(kind: type[K], text: str | None) -> K | None:
    """The value; None where nothing was written. What cannot be read raises."""
    return None if text is None else _read(kind, text)  # type: ignore[return-value]


@lru_cache(maxsize=1000)
def _read(kind: type[Kept], text: str) -> Kept:
    return kind.of_json(text)
