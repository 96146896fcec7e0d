"""/admin/v1/usage: the totals of a month, from the rollups, and exports of its calls or days.

An export is sent as it is read. No session stays open while a client takes its time: each page of calls, and
each day, is read in one of its own. What is posted meanwhile may be in it or not; a month that is over has
all of it.
"""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Annotated, Final

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse
from sqlalchemy.ext.asyncio import AsyncSession

from admin.actors import Actor, may
from admin.auth import Here, Plane
from admin.exports import lines
from admin.exports.cells import DAILY_COLUMNS, DAILY_GROUPING, ROW_COLUMNS, Cell, day_cells, row_cells
from admin.exports.choices import Detail, Format
from admin.exports.lines import MEDIA_TYPES
from admin.schemas import UsageView
from admin.times import month_of
from admin.within import key_of, project_of, tenant_of
from ledger import reports
from ledger.periods import DAY_US, month_span
from ledger.reports import UsageFilter
from ledger.roles import Permission

router = APIRouter(tags=["usage"])

Reading = Annotated[Actor, may(Permission.COSTS_READ)]
Month = Annotated[str | None, Query(examples=["2026-11"], description="In UTC; this month, unless given")]
EXAMPLE: Final = {
    "text/csv": {"schema": {"type": "string"}, "example": "request_id,started_at,...\n"},
    "application/x-ndjson": {"schema": {"type": "string"}, "example": '{"request_id": "req_...", ...}\n'},
}


@router.get("/usage")
async def usage(
    plane: Here,
    actor: Reading,
    *,
    month: Month = None,
    tenant_id: str | None = None,
    project_id: str | None = None,
    api_key_id: str | None = None,
    model: str | None = None,
    group_by: Annotated[list[reports.Grouping], Query(max_length=6)] = [],  # noqa: B006 - FastAPI copies it
) -> UsageView:
    """Totals of what is posted: one for each currency, and for each value of what is grouped by."""
    month = month or month_of(plane.now_us())
    span = month_span(month)
    by = list(dict.fromkeys(group_by))
    asked = UsageFilter(*span, tenant_id, project_id, api_key_id, model)
    async with plane.database.read() as session:
        wanted = await _seen(session, actor, asked)
        return UsageView.of(month, span, await reports.usage_totals(session, wanted, by), by)


@router.get(
    "/usage/export",
    response_class=StreamingResponse,
    responses={200: {"content": EXAMPLE, "description": "As it is read; a header line first, in CSV"}},
)
async def export(
    plane: Here,
    actor: Reading,
    *,
    format_: Annotated[Format, Query(alias="format", description="As what it is written")] = Format.CSV,
    detail: Annotated[Detail, Query(description="Every call, or sums of each day")] = Detail.ROWS,
    month: Month = None,
    tenant_id: str | None = None,
    project_id: str | None = None,
    api_key_id: str | None = None,
    model: str | None = None,
) -> StreamingResponse:
    """A month's usage as a file: a line for each call, or for each day. Where an engine is, is told only to
    who has `backends.read`.
    """
    month = month or month_of(plane.now_us())
    asked = UsageFilter(*month_span(month), tenant_id, project_id, api_key_id, model)
    async with plane.database.read() as session:
        wanted = await _seen(session, actor, asked)
    if detail is Detail.DAILY:
        columns, parts = DAILY_COLUMNS, _days(plane, wanted)
    else:
        columns, parts = tuple(ROW_COLUMNS), _calls(plane, wanted, actor.may(Permission.BACKENDS_READ))

    async def text() -> AsyncIterator[str]:
        yield lines.head(format_, columns)
        async for part in parts:
            yield lines.text_of(format_, columns, part)

    name = f"usage-{month}-{detail}.{format_}"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return StreamingResponse(text(), media_type=MEDIA_TYPES[format_], headers=headers)


async def _calls(
    plane: Plane, wanted: UsageFilter, with_backends: bool
) -> AsyncIterator[list[dict[str, Cell]]]:
    """Page by page."""
    last: reports.UsageLine | None = None
    while True:
        async with plane.database.read() as session:
            rows = await reports.usage_page(session, wanted, last)
        if not rows:
            return
        yield [row_cells(row) if with_backends else {**row_cells(row), "backend": ""} for row in rows]
        last = rows[-1]


async def _days(plane: Plane, wanted: UsageFilter) -> AsyncIterator[list[dict[str, Cell]]]:
    """Day by day."""
    assert wanted.from_us is not None and wanted.until_us is not None
    for day_us in range(wanted.from_us, wanted.until_us, DAY_US):
        day = replace(wanted, from_us=day_us, until_us=day_us + DAY_US)
        async with plane.database.read() as session:
            totals = await reports.daily(session, day, DAILY_GROUPING)
        if totals:
            yield [day_cells(total) for total in totals]


async def _seen(session: AsyncSession, actor: Actor, asked: UsageFilter) -> UsageFilter:
    """What the actor sees of what it asks for. Raises NotFound. The operator may ask for what is not
    there.
    """
    if actor.tenant_id is None:
        return asked
    tenant = await tenant_of(session, actor, asked.tenant_id or actor.tenant_id)
    project_id = asked.project_id or actor.project_id
    if project_id is not None:
        await project_of(session, actor, project_id)
    if asked.api_key_id is not None:
        await key_of(session, actor, asked.api_key_id)
    return replace(asked, tenant_id=tenant.id, project_id=project_id)
