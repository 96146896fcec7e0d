"""`metergate admin-key`: the keys of the control plane."""

from typing import Annotated

import typer

from admin.cli.api import given
from admin.cli.command import ExpiryOption, Request, resource
from ledger.roles import Role

app = typer.Typer(
    help="The control plane's keys: the operator's, and those of tenants.", no_args_is_help=True
)


KeyId = Annotated[str, typer.Argument(metavar="KEY_ID", help="adminkey_...", show_default=False)]


@app.command()
@resource
def create(
    request: Request,
    name: Annotated[str, typer.Option("--name", help="What people call it.")] = "Admin key",
    role: Annotated[
        Role | None,
        typer.Option(
            "--role", help="operator; with --tenant or --project owner, unless given.", show_default=False
        ),
    ] = None,
    tenant: Annotated[
        str | None, typer.Option("--tenant", metavar="ID", help="A key of this tenant.", show_default=False)
    ] = None,
    project: Annotated[
        str | None,
        typer.Option("--project", metavar="ID", help="Limited to this project.", show_default=False),
    ] = None,
    expires: ExpiryOption = None,
) -> None:
    """Make an admin key. It is shown this once: the ledger keeps only a digest."""
    chosen = role or (Role.OWNER if tenant or project else Role.OPERATOR)
    order = given(name=name, role=chosen, tenant_id=tenant, project_id=project, expires=expires)
    request.show(request.api.post("admin_keys", body=order), note="Keep the key now: it is not shown again.")


@app.command("list")
@resource
def list_(request: Request) -> None:
    """List the admin keys, the oldest first, without their secrets."""
    request.show_all(
        request.api.every("admin_keys"),
        ("id", "name", "role", "tenant_id", "project_id", "state", "redacted", "created_at"),
        none="no admin keys yet: make one with `metergate admin-key create`",
    )


@app.command()
@resource
def show(request: Request, key_id: KeyId) -> None:
    """Show an admin key, without its secret."""
    request.show(request.api.get("admin_keys", key_id))


@app.command()
@resource
def revoke(request: Request, key_id: KeyId) -> None:
    """Revoke an admin key for good."""
    request.show(request.api.post("admin_keys", key_id, "revoke"))
