"""`metergate reservation`: what workers have on lease of which limits."""

from typing import Annotated

import typer

from admin.cli.command import Request, resource

app = typer.Typer(help="Reservations: what workers hold of limits now.", no_args_is_help=True)


@app.command("list")
@resource
def list_(
    request: Request,
    limit: Annotated[
        str | None, typer.Option("--limit", metavar="ID", help="Only of this limit.", show_default=False)
    ] = None,
    holder: Annotated[
        str | None, typer.Option("--holder", metavar="ID", help="Only this worker's.", show_default=False)
    ] = None,
) -> None:
    """List the leases in force, by worker and limit."""
    request.show_all(
        request.api.every("reservations", limit_id=limit, holder_id=holder),
        ("limit_id", "kind", "tenant_id", "end_user", "host", "worker", "held", "expires_at"),
        none="nothing is on lease",
    )
