"""Leases in force, to be read: what each worker has taken of which limit, and until when that stands.

A lease has no time of its own: it stands as long as its holder's heartbeat comes, and is taken back some time
after the last one (ledger/leases.py says when). What a soft limit or a rate gave is not kept, so not here.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import select
from sqlmodel import col

from ledger.leases import LEASES_LOST_S, SLOTS_LOST_S
from ledger.limits import LimitKind
from ledger.places import Cut, Order, Page
from ledger.tables.limits import Lease, LeaseHolder, UsageLimit

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession


@dataclass(frozen=True, slots=True)
class Reservation:
    """What a holder has of a limit in one window (0: one without a beginning), in the limit's own unit.

    `kind` and `tenant_id` are None where the limit is removed. `expires_us`: when it is taken back if the
    holder is not heard of any more; None: it has ended, and its last records are still to be posted.
    """

    holder_id: str
    host: str
    worker: int
    seen_us: int
    limit_id: str
    kind: LimitKind | None
    tenant_id: str | None
    end_user: str
    window_us: int
    held: int
    expires_us: int | None


async def page_reservations(
    session: "AsyncSession", cut: Cut, *, limit_id: str | None = None, holder_id: str | None = None
) -> Page[Reservation]:
    """A page of the leases in force, by holder and then by limit. Raises Refused."""
    query = (
        select(Lease, LeaseHolder, UsageLimit)
        .join(LeaseHolder, col(LeaseHolder.id) == col(Lease.holder_id))
        .outerjoin(UsageLimit, col(UsageLimit.id) == col(Lease.limit_id))
        .where(col(Lease.held) > 0)
    )
    if limit_id is not None:
        query = query.where(col(Lease.limit_id) == limit_id)
    if holder_id is not None:
        query = query.where(col(Lease.holder_id) == holder_id)
    page = await _ORDER.page(session, query, cut)
    return Page([_reservation(*row) for row in page.rows], page.next_after)


_ORDER: Order[tuple[Lease, LeaseHolder, UsageLimit | None]] = Order(
    (col(Lease.holder_id), col(Lease.limit_id), col(Lease.end_user), col(Lease.window_us)),
    (str, str, str, int),
    lambda row: (row[0].holder_id, row[0].limit_id, row[0].end_user, row[0].window_us),
)


def _reservation(lease: Lease, holder: LeaseHolder, limit: UsageLimit | None) -> Reservation:
    kind = None if limit is None else limit.kind
    stands_s = SLOTS_LOST_S if kind is LimitKind.CONCURRENT else LEASES_LOST_S
    return Reservation(
        holder_id=holder.id,
        host=holder.host,
        worker=holder.worker,
        seen_us=holder.seen_us,
        limit_id=lease.limit_id,
        kind=kind,
        tenant_id=None if limit is None else limit.tenant_id,
        end_user=lease.end_user,
        window_us=lease.window_us,
        held=lease.held,
        expires_us=holder.seen_us + int(stands_s * 1_000_000) if holder.seen_us else None,
    )
