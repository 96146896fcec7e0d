"""/admin/v1/reservations: what workers have on lease of which limits, for the operator."""

from typing import Annotated, Self

from fastapi import APIRouter, Query
from pydantic import Field

from admin.actors import Actor, may
from admin.api.responses import Listing, Wanted
from admin.auth import Here
from admin.limit_schemas import Size
from admin.limit_values import shown_amount
from admin.schemas import Instant, Resource
from admin.times import format_instant
from ledger import reservations
from ledger.limits import LimitKind
from ledger.reservations import Reservation
from ledger.roles import Permission

router = APIRouter(tags=["limits"])


class ReservationView(Resource):
    """A lease in force: free in a worker's hands, held by its calls, or settled and not yet posted."""

    limit_id: str
    kind: Annotated[LimitKind | None, Field(description="null: the limit is removed")]
    tenant_id: Annotated[str | None, Field(description="Whose limit; null: it is removed")]
    end_user: str | None
    window_start: Annotated[Instant | None, Field(description="null: the window has no beginning")]
    holder_id: Annotated[str, Field(examples=["holder_3fKq0ZtWm2Yb8sVh1LcXo9Pd"])]
    host: Annotated[str, Field(examples=["gpu-1"])]
    worker: int
    held: Size
    last_heard_at: Instant | None
    expires_at: Annotated[
        Instant | None,
        Field(description="Taken back then, unless the worker is heard of; null: it has ended"),
    ]

    @classmethod
    def of(cls, one: Reservation) -> Self:
        """The view of a lease."""
        return cls(
            limit_id=one.limit_id,
            kind=one.kind,
            tenant_id=one.tenant_id,
            end_user=one.end_user or None,
            window_start=format_instant(one.window_us) if one.window_us else None,
            holder_id=one.holder_id,
            host=one.host,
            worker=one.worker,
            held=one.held if one.kind is None else shown_amount(one.kind, one.held),
            last_heard_at=format_instant(one.seen_us) if one.seen_us else None,
            expires_at=None if one.expires_us is None else format_instant(one.expires_us),
        )


@router.get("/reservations")
async def list_reservations(
    plane: Here,
    actor: Annotated[Actor, may(Permission.LEASES_READ)],
    wanted: Wanted,
    *,
    limit_id: Annotated[str | None, Query(description="Only of this limit")] = None,
    holder_id: Annotated[str | None, Query(description="Only this worker's")] = None,
) -> Listing[ReservationView]:
    """List the leases in force: what each worker has taken of which limit, by worker and limit."""
    async with plane.database.read() as session:
        page = await reservations.page_reservations(session, wanted, limit_id=limit_id, holder_id=holder_id)
    return Listing[ReservationView].of(page, ReservationView.of)
