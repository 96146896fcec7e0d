"""How logins come out, counted in the ledger: the control plane may run on another host than who shows it."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from ledger.direct import Connection
from ledger.given import Statement


class Outcome(StrEnum):
    """Of an attempt that takes a password."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"  # a wrong password, or nobody's address
    THROTTLED = "throttled"  # not looked at: too many came before


_ADD: Final = Statement(
    "INSERT INTO login_count (outcome, tries) SELECT outcome, tries FROM {given} WHERE true"
    " ON CONFLICT (outcome) DO UPDATE SET tries = login_count.tries + excluded.tries",
    {"outcome": "varchar", "tries": "bigint"},
)


async def add(connection: Connection, counts: Mapping[Outcome, int]) -> None:
    """So many more."""
    rows = [(str(outcome), count) for outcome, count in sorted(counts.items()) if count]
    if rows:
        await _ADD.change(connection, rows)


async def read(connection: Connection) -> dict[Outcome, int]:
    """All there were, of each outcome."""
    found = await connection.exec_driver_sql("SELECT outcome, tries FROM login_count")
    return {**dict.fromkeys(Outcome, 0), **{Outcome(outcome): int(tries) for outcome, tries in found}}
