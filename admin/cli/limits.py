"""`metergate limit`: how much tenants, projects, keys and end users may use."""

from typing import Annotated, Any

import typer

from admin.cli.api import given
from admin.cli.command import Request, resource
from ledger.limits import LimitKind, LimitWindow

app = typer.Typer(
    help="Limits: on spend, tokens, requests and calls in flight. They work within a second.",
    no_args_is_help=True,
)

LimitId = Annotated[str, typer.Argument(metavar="LIMIT_ID", show_default=False)]
OfTenant = Annotated[
    str | None, typer.Option("--tenant", metavar="ID", help="On this tenant.", show_default=False)
]
OfProject = Annotated[
    str | None, typer.Option("--project", metavar="ID", help="On this project.", show_default=False)
]
OfKey = Annotated[
    str | None,
    typer.Option("--key", metavar="ID", help="On this key (its id, key_...).", show_default=False),
]
COLUMNS = ("id", "scope", "scope_id", "model", "user", "kind", "window", "max", "soft")


@app.command("set")
@resource
def set_(
    request: Request,
    kind: Annotated[LimitKind, typer.Option("--kind", help="What is counted.", show_default=False)],
    max_: Annotated[
        str,
        typer.Option(
            "--max",
            metavar="VALUE",
            help="Spend: units of currency, such as 1.00. Else a whole number.",
            show_default=False,
        ),
    ],
    tenant: OfTenant = None,
    project: OfProject = None,
    key: OfKey = None,
    model: Annotated[
        str | None, typer.Option("--model", help="Only calls of this model.", show_default=False)
    ] = None,
    user: Annotated[
        str | None,
        typer.Option(
            "--user", metavar="U", help="Only this end user (`user` of the request).", show_default=False
        ),
    ] = None,
    each_user: Annotated[
        bool, typer.Option("--each-user", help="This much for every end user of their own.")
    ] = False,
    window: Annotated[
        LimitWindow | None,
        typer.Option(
            "--window",
            help="In UTC. Unless given: spend by the month, tokens and requests by the minute; "
            "concurrent has none.",
            show_default=False,
        ),
    ] = None,
    burst: Annotated[
        int | None,
        typer.Option(
            "--burst",
            metavar="N",
            help="By the minute: what may pass at once after a pause (a sixth of --max).",
            show_default=False,
        ),
    ] = None,
    soft: Annotated[bool, typer.Option("--soft", help="Refuse nothing; keep that it was reached.")] = False,
) -> None:
    """Set a limit. One of the same owner, model, user, kind and window is changed."""
    if sum(each is not None for each in (tenant, project, key)) != 1:
        raise typer.BadParameter("give exactly one of --tenant, --project and --key")
    if user is not None and each_user:
        raise typer.BadParameter("give --user or --each-user, not both")
    order = given(
        tenant_id=tenant,
        project_id=project,
        api_key_id=key,
        model=model,
        end_user=user,
        each_user=each_user,
        kind=kind,
        window=window,
        max=max_,
        burst=burst,
        soft=soft,
    )
    request.show(request.api.post("limits", body=order))


@app.command("list")
@resource
def list_(
    request: Request,
    tenant: OfTenant = None,
    project: OfProject = None,
    key: OfKey = None,
) -> None:
    """List the limits, the oldest first; a tenant's with those of its projects and keys."""
    if sum(each is not None for each in (tenant, project, key)) > 1:
        raise typer.BadParameter("give at most one of --tenant, --project and --key")
    limits = request.api.every("limits", tenant_id=tenant, project_id=project, api_key_id=key)
    if not request.as_json:
        limits = [{**limit, "user": "each" if limit["each_user"] else limit["end_user"]} for limit in limits]
    request.show_all(
        limits,
        COLUMNS,
        none="no limits: set one with `metergate limit set --project ID --kind spend --max 10.00`",
    )


@app.command()
@resource
def show(request: Request, limit_id: LimitId) -> None:
    """Show a limit, and how much of it is used and left now."""
    detail = request.api.get("limits", limit_id)
    if request.as_json:
        request.show(detail)
        return
    told: list[dict[str, Any]] = detail.pop("standings")
    if not detail["each_user"]:
        for standing in told:
            del standing["end_user"]
            detail.update(standing)
        request.show(detail)
        return
    request.show(detail)
    request.show_all(
        told, ("end_user", "used", "leased", "remaining", "resets_at"), none="nobody used it yet"
    )


@app.command()
@resource
def remove(request: Request, limit_id: LimitId) -> None:
    """Remove a limit, within a second; what was used stays in the book."""
    request.show(request.api.delete("limits", limit_id))
