"""`metergate tenant`: who pays."""

from enum import StrEnum
from typing import Annotated

import typer

from admin.cli.api import given
from admin.cli.command import GivenName, NameOption, Request, name_of, resource

app = typer.Typer(help="Tenants: who pays.", no_args_is_help=True)

TenantId = Annotated[str, typer.Argument(metavar="TENANT_ID", show_default=False)]


class OutageChoice(StrEnum):
    """As the command line writes it."""

    FAIL_CLOSED = "fail-closed"
    FAIL_OPEN = "fail-open"


OutageOption = Annotated[
    OutageChoice | None,
    typer.Option(
        "--outage-policy",
        help="While the ledger is away, past the leases in hand: refuse calls, or admit and post them later.",
        show_default=False,
    ),
]


@app.command()
@resource
def create(
    request: Request,
    name: GivenName = None,
    name_option: NameOption = None,
    outage_policy: OutageOption = None,
) -> None:
    """Make a tenant; while the ledger is away it fails closed, unless told otherwise."""
    order = given(name=name_of(name, name_option), outage_policy=_policy(outage_policy))
    request.show(request.api.post("tenants", body=order))


@app.command("list")
@resource
def list_(request: Request) -> None:
    """List the tenants, the oldest first."""
    request.show_all(
        request.api.every("tenants"),
        ("id", "name", "state", "created_at"),
        none="no tenants yet: make one with `metergate tenant create NAME`",
    )


@app.command()
@resource
def show(request: Request, tenant_id: TenantId) -> None:
    """Show a tenant."""
    request.show(request.api.get("tenants", tenant_id))


@app.command()
@resource
def update(
    request: Request,
    tenant_id: TenantId,
    name: Annotated[
        str | None, typer.Option("--name", help="What people call it from now on.", show_default=False)
    ] = None,
    outage_policy: OutageOption = None,
) -> None:
    """Change a tenant's settings, within a second."""
    change = given(name=name, outage_policy=_policy(outage_policy))
    if not change:
        raise typer.BadParameter("say what to change: see --help")
    request.api.patch("tenants", tenant_id, "settings", body=change)
    request.show(request.api.get("tenants", tenant_id))


@app.command()
@resource
def block(request: Request, tenant_id: TenantId) -> None:
    """Refuse every call of a tenant, within a second, until it is unblocked."""
    request.show(request.api.post("tenants", tenant_id, "block"))


@app.command()
@resource
def unblock(request: Request, tenant_id: TenantId) -> None:
    """Let a blocked tenant in again."""
    request.show(request.api.post("tenants", tenant_id, "unblock"))


def _policy(choice: OutageChoice | None) -> str | None:
    return None if choice is None else choice.replace("-", "_")
