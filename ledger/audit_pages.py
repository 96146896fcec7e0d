"""Reading the audit log, the newest first, in pages.

Who may read what is the caller's: it says whose events it wants. An event of the operator's own (a price for
everybody, an operator's key) belongs to no tenant.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Row, Select, select
from sqlalchemy.ext.asyncio import AsyncSession

from ledger.errors import NotFound
from ledger.places import Cut, Page, read_place, write_place
from ledger.roles import Role
from ledger.tables.audit import AuditEvent
from ledger.tables.base import Table
from ledger.tables.tenancy import Project

ID_PREFIX: Final = "audit_log-"

# One event as the table `audit_event` has it: attributes are its columns' names.
Event = Row[Any]

_EVENTS: Final = Table.metadata.tables[AuditEvent.__tablename__]
_PROJECTS: Final = Table.metadata.tables[Project.__tablename__]


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which events: all that match each of these. None, and nothing in a list: whichever.

    Times are a half-open span of microseconds. `is_tenants`: a tenant reads; the operator's people are not
    found by their ids and addresses. `of_no_tenant`: the operator's own alone.
    """

    tenant_id: str | None = None
    of_no_tenant: bool = False
    is_tenants: bool = False
    within_project_id: str | None = None
    from_us: int | None = None
    until_us: int | None = None
    project_ids: Sequence[str] = ()
    events: Sequence[str] = ()
    event_prefix: str = ""
    actor_ids: Sequence[str] = ()
    actor_emails: Sequence[str] = ()
    subject_ids: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class AuditPage:
    """Events, the newest first, and whether there are more that match beyond this page, in the direction that
    was asked for.
    """

    events: list[Event]
    has_more: bool


async def page(
    session: AsyncSession,
    wanted: AuditFilter,
    limit: int,
    *,
    after: str | None = None,
    before: str | None = None,
) -> AuditPage:
    """The newest events; those that come `after` the event with this id in the list, which are older; or the
    last ones `before` it. Raises NotFound for an id that does not match what is wanted.
    """
    query = _matching(wanted)
    for cursor in (after, before):
        if cursor is not None:
            at = (await session.execute(_matching(wanted).where(_EVENTS.c.id == cursor))).first()
            if at is None:
                raise NotFound("audit log", cursor)
            older = _EVENTS.c.position < at.position
            query = query.where(older if cursor is after else _EVENTS.c.position > at.position)
    backwards = before is not None and after is None
    order = _EVENTS.c.position.asc() if backwards else _EVENTS.c.position.desc()
    found = list((await session.execute(query.order_by(order).limit(limit + 1))).all())
    events = found[:limit]
    return AuditPage(events[::-1] if backwards else events, len(found) > limit)


async def page_newest(session: AsyncSession, wanted: AuditFilter, cut: Cut) -> Page[Event]:
    """The newest events, or those behind a place or the event with an id. Raises Refused for a place that is
    none, NotFound for an id that does not match what is wanted.
    """
    query = _matching(wanted)
    if cut.after is not None:
        query = query.where(_EVENTS.c.position < await _position(session, wanted, cut.after))
    query = query.order_by(_EVENTS.c.position.desc()).limit(cut.limit + 1)
    found = list((await session.execute(query)).all())
    events = found[: cut.limit]
    return Page(events, write_place([events[-1].position]) if len(found) > cut.limit else None)


async def project_names(session: AsyncSession, events: Sequence[Event]) -> dict[str, str]:
    """The names of the projects of these events, by id, as they are now."""
    ids = {event.project_id for event in events if event.project_id is not None}
    query = select(_PROJECTS.c.id, _PROJECTS.c.name).where(_PROJECTS.c.id.in_(ids))
    return {row.id: row.name for row in await session.execute(query)} if ids else {}


async def _position(session: AsyncSession, wanted: AuditFilter, after: str) -> int:
    if not after.startswith(ID_PREFIX):
        (position,) = read_place(after, (int,))
        return int(position)
    at = (await session.execute(_matching(wanted).where(_EVENTS.c.id == after))).first()
    if at is None:
        raise NotFound("audit log", after)
    return int(at.position)


def _matching(wanted: AuditFilter) -> Select[Any]:
    query = select(_EVENTS)
    if wanted.tenant_id is not None:
        query = query.where(_EVENTS.c.tenant_id == wanted.tenant_id)
    if wanted.of_no_tenant:
        query = query.where(_EVENTS.c.tenant_id.is_(None))
    if wanted.within_project_id is not None:
        query = query.where(_EVENTS.c.project_id == wanted.within_project_id)
    if wanted.is_tenants and (wanted.actor_ids or wanted.actor_emails):
        query = query.where(_EVENTS.c.actor_role != Role.OPERATOR)
    if wanted.event_prefix:
        query = query.where(_EVENTS.c.event.startswith(wanted.event_prefix, autoescape=True))
    if wanted.from_us is not None:
        query = query.where(_EVENTS.c.at_us >= wanted.from_us)
    if wanted.until_us is not None:
        query = query.where(_EVENTS.c.at_us < wanted.until_us)
    for column, values in (
        ("project_id", wanted.project_ids),
        ("event", wanted.events),
        ("actor_id", wanted.actor_ids),
        ("actor_email", wanted.actor_emails),
        ("subject_id", wanted.subject_ids),
    ):
        if values:
            query = query.where(_EVENTS.c[column].in_(values))
    return query
