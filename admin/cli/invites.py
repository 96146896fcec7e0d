"""`metergate invite`: who is invited into a tenant; `metergate user invite` invites. In OpenAI's shapes."""

from typing import Annotated, Any

import typer

from admin.cli import seconds
from admin.cli.command import Request, resource

app = typer.Typer(help="Invites: who is asked into a tenant, and has not come yet.", no_args_is_help=True)

InviteId = Annotated[str, typer.Argument(metavar="INVITE_ID", help="invite-...", show_default=False)]
OfTenant = Annotated[
    str | None,
    typer.Option(
        "--tenant", metavar="ID", help="Into this tenant (your own, or the only one).", show_default=False
    ),
]


@app.command("list")
@resource
def list_(request: Request, tenant: OfTenant = None) -> None:
    """List the invites, the oldest first, whatever became of them."""
    invites = request.api.organization(tenant).every("invites")
    request.show_all(
        [_told(request, invite) for invite in invites],
        ("id", "email", "metergate_role", "status", "expires_at"),
        none="nobody is invited: `metergate user invite EMAIL --tenant ID`",
    )


@app.command()
@resource
def show(request: Request, invite_id: InviteId, tenant: OfTenant = None) -> None:
    """Show an invite."""
    request.show(_told(request, request.api.organization(tenant).get("invites", invite_id)))


@app.command()
@resource
def remove(request: Request, invite_id: InviteId, tenant: OfTenant = None) -> None:
    """Take an invite back, unless it is accepted: its token works no more."""
    request.show(request.api.organization(tenant).delete("invites", invite_id))


def _told(request: Request, invite: dict[str, Any]) -> dict[str, Any]:
    return seconds.told(request, invite, "created_at", "expires_at", "accepted_at")
