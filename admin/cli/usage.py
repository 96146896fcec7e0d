"""`metergate usage`: what was used, as totals and as files. On the server both first wait until what is
settled is posted; a control plane at a URL tells what is posted.
"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from admin.cli.command import Request, resource
from admin.exports.choices import Detail, Format

app = typer.Typer(help="Usage: totals and exports.", no_args_is_help=True)


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
    bool,
    typer.Option("--no-wait", help="Do not wait for what is settled and not yet posted (at a URL: never)."),
]


@app.command()
@resource
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
    groupings = [GROUPINGS[name] for name in dict.fromkeys(by or [])]
    _wait(request, no_wait=no_wait)
    document = request.api.get(
        "usage",
        month=month,
        tenant_id=tenant,
        project_id=project,
        api_key_id=key,
        model=model,
        group_by=groupings,
    )
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
        request.show_all(rows, (*groupings, *columns), none=f"no usage in {document['month']}")
    else:
        del document["totals"]
        amounts = document.pop("amounts")
        document["amount"] = (
            ", ".join(f"{amount} {currency}" for currency, amount in amounts.items()) or "0.00"
        )
        request.show(document)


@app.command()
@resource
def export(
    request: Request,
    format_: Annotated[
        Format, typer.Option("--format", help="CSV, or a JSON object on each line.")
    ] = Format.CSV,
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
    from admin.cli.writing import write_array, write_text

    _wait(request, no_wait=no_wait)
    written = request.api.stream(
        "usage",
        "export",
        format=Format.JSONL if request.as_json else format_,
        detail=detail,
        month=month,
        tenant_id=tenant,
        project_id=project,
        api_key_id=key,
        model=model,
    )
    lines = write_array(written, out) if request.as_json else write_text(written, out)
    if format_ is Format.CSV and not request.as_json:
        lines -= 1  # its header
    if out is not None:
        typer.echo(f"{lines} {'calls' if detail is Detail.ROWS else 'lines'} in {out}", err=True)


def _wait(request: Request, *, no_wait: bool) -> None:
    """Here, where the journals are."""
    if not no_wait:
        request.api.server.wait_posted()
