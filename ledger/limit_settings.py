"""Setting limits, and seeing how much of them is left.

A limit counts from the beginning of its running window, whenever it is set: what was posted before is read
from the rollups, in the transaction that makes it (but for limits of end users, which count from when they
are set: rollups do not know them). Each change appends to the change log under the id of its scope (the
tenant, project or key), so that workers drop the principals it concerns.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from ledger.limits import Limit, LimitKind, LimitWindow


@dataclass(frozen=True, slots=True)
class LimitScope:
    """Whose limit: exactly one of tenant, project and key."""

    tenant_id: str | None = None
    project_id: str | None = None
    api_key_id: str | None = None


@dataclass(frozen=True, slots=True)
class LimitStanding:
    """A limit and one of its balances, of the window that is running. Slots and consumables: `used`,
    `leased`, `remaining` in the limit's unit; of a rate, `remaining` is what may pass at once now.

    `end_user`: whose, where each has one. `resets_us`: when the window ends; None where none does.
    """

    limit: Limit
    end_user: str
    used: int
    leased: int
    remaining: int
    resets_us: int | None


async def set_limit(
    session: AsyncSession,
    scope: LimitScope,
    kind: LimitKind,
    window: LimitWindow | None,
    max_value: int,
    now_us: int,
    *,
    model: str | None = None,
    end_user: str | None = None,
    burst: int | None = None,
    soft: bool = False,
) -> Limit:
    """Sets a limit; one of the same scope, model, end user, kind and window is changed and keeps its id.

    Raises NotFound for the scope, Refused for what does not go together (`ledger.limits.check`).
    """
    raise NotImplementedError


async def remove_limit(session: AsyncSession, limit_id: str, now_us: int) -> Limit:
    """Removes a limit, within a second on every worker. Raises NotFound."""
    raise NotImplementedError


async def list_limits(
    session: AsyncSession,
    *,
    tenant_id: str | None = None,
    project_id: str | None = None,
    api_key_id: str | None = None,
) -> list[Limit]:
    """The limits set on exactly this tenant, project or key (a tenant's with those of its projects and keys),
    or all of them; the oldest first.
    """
    raise NotImplementedError


async def limits_of(
    session: AsyncSession, tenant_id: str, project_id: str, api_key_id: str
) -> tuple[Limit, ...]:
    """Every limit that can concern a call of this key, whatever its model and end user, by id."""
    raise NotImplementedError


async def standings(session: AsyncSession, limits: Sequence[Limit], now_us: int) -> list[LimitStanding]:
    """How much of each limit is left now, in their order; of a limit of each user, one for every user who
    used it in the running window.
    """
    raise NotImplementedError
