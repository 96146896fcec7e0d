"""`metergate limit`: how much tenants, projects, keys and end users may use."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from admin.cli.command import Request, common
from ledger.limits import LimitKind, LimitWindow

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from ledger.limits import Limit
    from ledger.settings import LedgerSettings
    from ledger.standings import LimitStanding

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
@common
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
    from admin.limit_schemas import LimitView
    from admin.limit_values import end_user_of, parse_max, usual_window
    from ledger import limit_settings
    from ledger.limit_settings import LimitScope

    if sum(given is not None for given in (tenant, project, key)) != 1:
        raise typer.BadParameter("give exactly one of --tenant, --project and --key")
    if user is not None and each_user:
        raise typer.BadParameter("give --user or --each-user, not both")
    window = window or usual_window(kind)
    max_value = parse_max(kind, window, max_)
    end_user = end_user_of(user, each_user=each_user)

    async def put(session: "AsyncSession", settings: "LedgerSettings", now: int) -> LimitView:
        limit = await limit_settings.set_limit(
            session,
            LimitScope(tenant, project, key),
            kind,
            window,
            max_value,
            now,
            model=model,
            end_user=end_user,
            burst=burst,
            soft=soft,
            by=request.actor,
        )
        return LimitView.of(limit, settings.currency)

    request.show(request.write(put).model_dump(mode="json"))


@app.command("list")
@common
def list_(
    request: Request,
    tenant: OfTenant = None,
    project: OfProject = None,
    key: OfKey = None,
) -> None:
    """List the limits, the oldest first; a tenant's with those of its projects and keys."""
    from admin.limit_schemas import LimitView
    from ledger import limit_settings

    if sum(given is not None for given in (tenant, project, key)) > 1:
        raise typer.BadParameter("give at most one of --tenant, --project and --key")
    currency = request.settings().currency
    limits = request.read(
        lambda session: limit_settings.list_limits(
            session, tenant_id=tenant, project_id=project, api_key_id=key
        )
    )
    views = [LimitView.of(limit, currency).model_dump(mode="json") for limit in limits]
    if not request.as_json:
        views = [{**view, "user": "each" if view["each_user"] else view["end_user"]} for view in views]
    request.show_all(
        views,
        COLUMNS,
        none="no limits: set one with `metergate limit set --project ID --kind spend --max 10.00`",
    )


@app.command()
@common
def show(request: Request, limit_id: LimitId) -> None:
    """Show a limit, and how much of it is used and left now."""
    from admin.cli.command import now_us
    from admin.limit_schemas import LimitDetail
    from ledger import limit_settings
    from ledger.standings import standings

    async def look(session: "AsyncSession") -> "tuple[Limit, list[LimitStanding]]":
        limit = await limit_settings.get_limit(session, limit_id)
        return limit, await standings(await session.connection(), [limit], now_us())

    limit, left = request.read(look)
    detail = LimitDetail.with_standings(limit, left, request.settings().currency).model_dump(mode="json")
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
@common
def remove(request: Request, limit_id: LimitId) -> None:
    """Remove a limit, within a second; what was used stays in the book."""
    from admin.limit_schemas import LimitView
    from ledger import limit_settings

    async def take(session: "AsyncSession", settings: "LedgerSettings", now: int) -> LimitView:
        return LimitView.of(
            await limit_settings.remove_limit(session, limit_id, now, by=request.actor), settings.currency
        )

    request.show(request.write(take).model_dump(mode="json"))
