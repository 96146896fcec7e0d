"""How the audit log is chained: each row's hash covers the row before and its own content. Pure.

The content is written one way only: a JSON object of every column but the hash, names sorted, ASCII, no
spaces; `before` and `after` are in it as the very text that is kept. Whoever has the rows can compute it
anew: no secret is needed.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Final, NamedTuple, Self

from ledger.errors import Refused

GENESIS: Final = bytes(32)
"""What stands before the first row."""

COLUMNS: Final = (
    "position",
    "id",
    "at_us",
    "event",
    "tenant_id",
    "project_id",
    "subject_id",
    "actor_kind",
    "actor_id",
    "actor_name",
    "actor_role",
    "actor_email",
    "address",
    "user_agent",
    "before",
    "after",
)


class Head(NamedTuple):
    """Where a chain ends: the position of its newest row, and that row's hash."""

    position: int
    hash: bytes

    @classmethod
    def parse(cls, told: str) -> Self:
        """What str() gave. Raises Refused."""
        position, _, digest = told.strip().partition(":")
        try:
            return cls(int(position), bytes.fromhex(digest))
        except ValueError:
            raise Refused(
                f"{told!r} is no head of an audit log: write it as `ledger verify` gave it"
            ) from None

    def __str__(self) -> str:
        """As people keep it: `42:9f86d0...`."""
        return f"{self.position}:{self.hash.hex()}"


def hash_of(previous: bytes, row: Mapping[str, object]) -> bytes:
    """SHA-256 over the hash before and the content of a row, which has all of COLUMNS."""
    content = json.dumps({name: row[name] for name in COLUMNS}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(previous + content.encode()).digest()
