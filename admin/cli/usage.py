"""`metergate usage`: what was used, as totals and as files. Both first wait until what is settled is
posted.
"""

from collections.abc import AsyncIterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from admin.cli.command import Request, common, now_us

if TYPE_CHECKING:
    from admin.exports.cells import Cell
    from ledger.database import Database
    from ledger.reports import UsageFilter
    from ledger.settings import LedgerSettings

app = typer.Typer(help="Usage: totals and exports.", no_args_is_help=True)


class Format(StrEnum):
    """What an export is written as."""

    CSV = "csv"


class Detail(StrEnum):
    """How much an export tells."""

    ROWS = "rows"
    DAILY = "daily"


class By(StrEnum):
    """What totals can be grouped by."""

    TENANT = "tenant"
    PROJECT = "project"
    KEY = "key"
    MODEL = "model"
    ENDPOINT = "endpoint"
    SOURCE = "source"


GROUPINGS = {
    By.TENANT: "tenant_id",
    By.PROJECT: "project_id",
    By.KEY: "api_key_id",
    By.MODEL: "model",
    By.ENDPOINT: "endpoint",
    By.SOURCE: "usage_source",
}

Month = Annotated[
    str | None, typer.Option("--month", metavar="YYYY-MM", help="In UTC (this month).", show_default=False)
]
OfTenant = Annotated[
    str | None, typer.Option("--tenant", metavar="ID", help="Only this tenant's.", show_default=False)
]
OfProject = Annotated[
    str | None, typer.Option("--project", metavar="ID", help="Only this project's.", show_default=False)
]
OfKey = Annotated[
    str | None, typer.Option("--key", metavar="ID", help="Only this key's.", show_default=False)
]
OfModel = Annotated[str | None, typer.Option("--model", help="Only this model's.", show_default=False)]
NoWait = Annotated[
    bool, typer.Option("--no-wait", help="Do not wait for what is settled and not yet posted.")
]


@app.command()
@common
def show(
    request: Request,
    month: Month = None,
    tenant: OfTenant = None,
    project: OfProject = None,
    key: OfKey = None,
    model: OfModel = None,
    by: Annotated[
        list[By] | None, typer.Option("--by", help="Group by this; may be repeated.", show_default=False)
    ] = None,
    no_wait: NoWait = False,
) -> None:
    """Show the totals of a month."""
    from admin.cli.reach import with_database
    from admin.schemas import UsageView
    from admin.times import month_of
    from ledger import reports
    from ledger.periods import month_span

    settings = request.settings()
    month = month or month_of(now_us())
    span = month_span(month)
    wanted = reports.UsageFilter(*span, tenant, project, key, model)
    groupings = [GROUPINGS[name] for name in dict.fromkeys(by or [])]

    async def look(database: "Database") -> "UsageView":
        await _wait(database, settings, no_wait=no_wait)
        async with database.read() as session:
            totals = await reports.usage_totals(session, wanted, groupings)  # type: ignore[arg-type]
        return UsageView.of(month, span, totals, groupings)

    document = with_database(settings, look).model_dump(mode="json", by_alias=True)
    if request.as_json:
        request.show(document)
    elif groupings:
        rows = [{**sums["group"], **sums} for sums in document["totals"]]
        columns = (
            "calls",
            "prompt_tokens",
            "cached_prompt_tokens",
            "completion_tokens",
            "amount",
            "currency",
        )
        request.show_all(rows, (*groupings, *columns), none=f"no usage in {month}")
    else:
        del document["totals"]
        amounts = document.pop("amounts")
        document["amount"] = (
            ", ".join(f"{amount} {currency}" for currency, amount in amounts.items()) or "0.00"
        )
        request.show(document)


@app.command()
@common
def export(
    request: Request,
    format_: Annotated[Format, typer.Option("--format", help="The only one so far.")] = Format.CSV,
    month: Month = None,
    detail: Annotated[
        Detail, typer.Option("--detail", help="Every call, or sums of each day.")
    ] = Detail.ROWS,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Where to (stdout).", show_default=False)
    ] = None,
    tenant: OfTenant = None,
    project: OfProject = None,
    key: OfKey = None,
    model: OfModel = None,
    no_wait: NoWait = False,
) -> None:
    """Write a month's usage as a file: one line for each call, or for each day. With --json, rows as JSON."""
    from admin.cli.reach import with_database
    from admin.cli.writing import write_lines
    from admin.exports.cells import DAILY_COLUMNS, ROW_COLUMNS
    from admin.times import month_of
    from ledger.periods import month_span
    from ledger.reports import UsageFilter

    settings = request.settings()
    wanted = UsageFilter(*month_span(month or month_of(now_us())), tenant, project, key, model)
    columns = tuple(ROW_COLUMNS) if detail is Detail.ROWS else DAILY_COLUMNS

    async def write(database: "Database") -> int:
        await _wait(database, settings, no_wait=no_wait)
        return await write_lines(_lines(database, wanted, detail), columns, out, as_json=request.as_json)

    lines = with_database(settings, write)
    if out is not None:
        typer.echo(f"{lines} {'calls' if detail is Detail.ROWS else 'lines'} in {out}", err=True)


async def _lines(
    database: "Database", wanted: "UsageFilter", detail: Detail
) -> "AsyncIterator[dict[str, Cell]]":
    from admin.exports.cells import DAILY_GROUPING, day_cells, row_cells
    from ledger import reports

    async with database.read() as session:
        if detail is Detail.ROWS:
            async for row in reports.usage_rows(session, wanted):
                yield row_cells(row)
        else:
            for total in await reports.daily(session, wanted, DAILY_GROUPING):
                yield day_cells(total)


async def _wait(database: "Database", settings: "LedgerSettings", *, no_wait: bool) -> None:
    if not no_wait:
        from ledger.settled import wait_posted

        await wait_posted(settings.data_dir, database, currency=settings.currency)
