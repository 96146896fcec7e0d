"""Limits as JSON: what the control plane answers under /admin/v1/limits and the CLI prints with --json.

One shape for both. Of spend, numbers are decimal strings in units of the currency, exact; of everything
else they are integers.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Self

from pydantic import Field

from admin.limit_values import shown_amount
from admin.schemas import Instant, Resource
from admin.times import format_instant
from ledger.limits import EACH_USER, Limit, LimitKind, LimitNature, LimitWindow
from ledger.standings import LimitStanding

Size = Annotated[
    str | int,
    Field(examples=["1.00", 600], description="Spend: units of currency, decimal; else a whole number"),
]


class LimitView(Resource):
    """A limit: a key's, a project's or a tenant's; the narrowest of the three ids that is there is whose."""

    id: str
    scope: Annotated[str, Field(examples=["project"], description="`tenant`, `project` or `key`")]
    scope_id: str
    tenant_id: str
    project_id: str | None
    api_key_id: str | None
    model: Annotated[str | None, Field(description="Only calls of this model count")]
    end_user: Annotated[str | None, Field(description="Only calls of this end user (`user`) count")]
    each_user: Annotated[bool, Field(description="Every end user has this much of their own")]
    kind: LimitKind
    window: LimitWindow | None
    max: Size
    burst: Annotated[int | None, Field(description="By the minute: what may pass at once after a pause")]
    soft: Annotated[bool, Field(description="Nothing is refused; that it was reached is kept")]
    by_tenant: Annotated[bool, Field(description="The tenant has told it itself, beside the operator's")]
    currency: Annotated[str | None, Field(examples=["USD"], description="Of spend")]

    @classmethod
    def of(cls, limit: Limit, currency: str) -> Self:
        """The view of a limit; `currency` is the ledger's."""
        return cls(**_fields(limit, currency))


class StandingView(Resource):
    """How much of a limit is left, in the window that is running. Of a limit by the minute, `remaining` is
    what may pass at once now.
    """

    end_user: Annotated[str | None, Field(description="Whose, where every end user has their own")]
    used: Size | None
    leased: Annotated[Size | None, Field(description="In the hands of workers, for calls to come")]
    remaining: Size
    resets_at: Instant | None

    @classmethod
    def of(cls, standing: LimitStanding) -> Self:
        """The view of a standing."""
        kind = standing.limit.kind
        is_rate = standing.limit.nature is LimitNature.RATE
        return cls(
            end_user=standing.end_user or None,
            used=None if is_rate else shown_amount(kind, standing.used),
            leased=None if is_rate else shown_amount(kind, standing.leased),
            remaining=shown_amount(kind, standing.remaining),
            resets_at=None if standing.resets_us is None else format_instant(standing.resets_us),
        )


class LimitDetail(LimitView):
    """A limit and how much of it is left: one standing, or one for every end user who used it."""

    standings: list[StandingView]

    @classmethod
    def with_standings(cls, limit: Limit, standings: Sequence[LimitStanding], currency: str) -> Self:
        """The view of a limit and its standings."""
        views = [StandingView.of(standing) for standing in standings]
        return cls(**_fields(limit, currency), standings=views)


def _fields(limit: Limit, currency: str) -> dict[str, Any]:
    return {
        "id": limit.id,
        "scope": limit.scope,
        "scope_id": limit.scope_id,
        "tenant_id": limit.tenant_id,
        "project_id": limit.project_id,
        "api_key_id": limit.api_key_id,
        "model": limit.model,
        "end_user": None if limit.end_user == EACH_USER else limit.end_user,
        "each_user": limit.end_user == EACH_USER,
        "kind": limit.kind,
        "window": limit.window,
        "max": shown_amount(limit.kind, limit.max_value),
        "burst": limit.rate.burst if limit.nature is LimitNature.RATE else None,
        "soft": limit.soft,
        "by_tenant": limit.by_tenant,
        "currency": currency if limit.kind is LimitKind.SPEND else None,
    }
