"""Whether this start has the secret that the keys of the ledger were made with.

A row of the ledger holds a digest of a constant under the pepper, never the pepper or the secret. It is
written with the first key, and never changed but by `adopt`. With another secret every key is an unknown one:
whoever checks keys or makes them compares first, and does not start.
"""

import hmac
from typing import Final

from ledger.direct import Connection
from ledger.errors import SecretChanged
from ledger.secret_key import check_digest

_KNOWN: Final = "SELECT digest FROM secret_check"
_LACKING: Final = (
    "SELECT NOT EXISTS (SELECT 1 FROM secret_check)"
    " AND (EXISTS (SELECT 1 FROM api_key) OR EXISTS (SELECT 1 FROM admin_key))"
)
_INSERT: Final = "INSERT INTO secret_check (id, digest, created_us) VALUES (1, {}) ON CONFLICT DO NOTHING"
_HOLD: Final = {
    "sqlite": _INSERT.format("?, ?"),
    "postgresql": _INSERT.format("$1, $2"),
}


async def check(connection: Connection, pepper: bytes) -> None:
    """Raises SecretChanged unless the pepper is the one of the first key, or there is no key yet."""
    known = (await connection.exec_driver_sql(_KNOWN)).scalar_one_or_none()
    if known is not None and not hmac.compare_digest(known, check_digest(pepper)):
        raise SecretChanged


async def is_lacking(connection: Connection) -> bool:
    """Whether there are keys and nothing to compare with: they were made before there was this check."""
    return bool((await connection.exec_driver_sql(_LACKING)).scalar_one())


async def hold_to(connection: Connection, pepper: bytes, now_us: int) -> None:
    """As check; where nothing is there to compare with, this pepper is the one from now on."""
    await connection.exec_driver_sql(_HOLD[connection.dialect.name], (check_digest(pepper), now_us))
    await check(connection, pepper)


async def adopt(connection: Connection, pepper: bytes, now_us: int) -> None:
    """Take this pepper from now on: every key made with another one is given up."""
    await connection.exec_driver_sql("DELETE FROM secret_check")
    await hold_to(connection, pepper, now_us)
