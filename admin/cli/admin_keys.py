"""`metergate admin-key`: the keys of the control plane."""

from typing import TYPE_CHECKING, Annotated

import typer

from admin.cli.command import ExpiryOption, Request, common
from ledger.roles import Role

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from ledger.settings import LedgerSettings
    from ledger.tables.tenancy import AdminKey

app = typer.Typer(
    help="The control plane's keys: the operator's, and those of tenants.", no_args_is_help=True
)


@app.command()
@common
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
    from admin.schemas import NewAdminKey
    from admin.times import parse_expiry
    from ledger import admin_keys
    from ledger.settings import pepper

    chosen = role or (Role.OWNER if tenant or project else Role.OPERATOR)

    async def make(session: "AsyncSession", settings: "LedgerSettings", now: int) -> "tuple[AdminKey, str]":
        return await admin_keys.create_admin_key(
            session,
            pepper(settings),
            name,
            now,
            role=chosen,
            tenant_id=tenant,
            project_id=project,
            expires_us=None if expires is None else parse_expiry(expires, now),
            by=request.actor,
        )

    key, secret = request.write(make)
    request.show(
        NewAdminKey.made(key, secret).model_dump(mode="json"), note="Keep the key now: it is not shown again."
    )


@app.command("list")
@common
def list_(request: Request) -> None:
    """List the admin keys, the oldest first, without their secrets."""
    from admin.schemas import AdminKeyView
    from ledger import admin_keys

    request.show_all(
        [AdminKeyView.of(key).model_dump(mode="json") for key in request.read(admin_keys.list_admin_keys)],
        ("id", "name", "role", "tenant_id", "project_id", "state", "redacted", "created_at"),
        none="no admin keys yet: make one with `metergate admin-key create`",
    )


@app.command()
@common
def revoke(
    request: Request,
    key_id: Annotated[str, typer.Argument(metavar="KEY_ID", help="adminkey_...", show_default=False)],
) -> None:
    """Revoke an admin key for good."""
    from admin.schemas import AdminKeyView
    from ledger import admin_keys

    key = request.write(
        lambda session, _, now: admin_keys.revoke_admin_key(session, key_id, now, by=request.actor)
    )
    request.show(AdminKeyView.of(key).model_dump(mode="json"))
