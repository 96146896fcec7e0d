"""The terms of a posting: the prices that rate calls, and the limits that count them, as they are now.

Owns a copy of both that follows the change log, so that a posting asks for one number and not for the terms.
`refresh` comes first in the transaction that posts, behind the book's lock: whoever changes a price or a
limit takes that lock alone and appends to the log. Knows nothing of rows and balances.
"""

from collections.abc import Collection
from typing import Final

from ledger import changes
from ledger.direct import Connection
from ledger.given import Statement
from ledger.limit_rows import limit_of, selected
from ledger.limits import Limit
from ledger.moves import Owner
from ledger.price_book import DEFAULT_CURRENCY, PriceBook

OWNERS_MAX: Final = 100_000
"""Some 300 bytes each; past that all are forgotten."""

_LIMITS: Final = Statement(
    f"SELECT given.tenant_id, given.project_id, given.api_key_id, {selected('l')}"  # noqa: S608 (our own names)
    " FROM {given} JOIN usage_limit AS l ON l.tenant_id = given.tenant_id"
    ' WHERE l."window" IS NOT NULL AND l."window" <> \'minute\''
    " AND (l.project_id IS NULL OR l.project_id = given.project_id)"
    " AND (l.api_key_id IS NULL OR l.api_key_id = given.api_key_id)",
    {"tenant_id": "varchar", "project_id": "varchar", "api_key_id": "varchar"},
)


class Terms:
    """What calls are rated and counted by."""

    def __init__(self, currency: str = DEFAULT_CURRENCY) -> None:
        """`currency` is what unpriced rows say."""
        self.prices = PriceBook(currency)
        self._seen: int | None = None  # the newest change that is in here
        self._limits: dict[Owner, tuple[Limit, ...]] = {}

    async def refresh(self, connection: Connection) -> None:
        """Take in what has changed: one query when nothing has."""
        latest = await changes.latest(connection)
        if latest != self._seen:
            self._limits.clear()
            await self.prices.refresh(connection)
            self._seen = latest

    async def consumable_limits(
        self, connection: Connection, owners: Collection[Owner]
    ) -> dict[Owner, tuple[Limit, ...]]:
        """The consumable limits that may hold for these owners' calls, whatever their model and end user."""
        if len(self._limits) > OWNERS_MAX:
            self._limits.clear()
        if lacking := [owner for owner in owners if owner not in self._limits]:
            found: dict[Owner, list[Limit]] = {owner: [] for owner in lacking}
            for row in await _LIMITS.read(connection, lacking):
                found[row[0], row[1], row[2]].append(limit_of(row[3:]))
            self._limits |= {owner: tuple(limits) for owner, limits in found.items()}
        return {owner: self._limits[owner] for owner in owners}
