"""When each secret of a key was last used, as workers tell it from time to time.

Any use by a call that was let in counts, also where a limit then refuses it or no engine is asked: who waits
for an old secret to fall out of use must see all of it. Posting tells when a key's last call was
(`api_key.last_used_us`); this tells of secrets. Rows are locked in the order of their ids, as rotations do.
"""

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Final

from ledger.direct import Connection
from ledger.given import Statement

ROWS_MAX: Final = 1_000
"""Of one statement: making it holds up no call, and the writer's turn is short."""

_GIVEN: Final = {"id": "bigint", "at_us": "bigint"}
_LOCK: Final = Statement(
    "SELECT s.id FROM api_key_secret AS s JOIN {given} ON given.id = s.id ORDER BY s.id",
    _GIVEN,
    lock=" FOR UPDATE OF s",
)
_NOTE: Final = Statement(
    "UPDATE api_key_secret SET last_used_us = given.at_us FROM {given}"
    " WHERE api_key_secret.id = given.id AND (last_used_us IS NULL OR last_used_us < given.at_us)",
    _GIVEN,
)


def portions(used: Mapping[int, int]) -> Iterator[dict[int, int]]:
    """Uses by the secrets' ids, in portions for `note`."""
    rows = iter(used.items())
    while portion := dict(islice(rows, ROWS_MAX)):
        yield portion


async def note(connection: Connection, used: Mapping[int, int]) -> None:
    """Write when secrets were used, by their ids: a time that is not later than what is there changes
    nothing, a secret that is gone is passed over. A transaction of its own.
    """
    rows = sorted(used.items())
    if connection.dialect.name == "postgresql":
        await _LOCK.read(connection, rows)
    await _NOTE.change(connection, rows)
