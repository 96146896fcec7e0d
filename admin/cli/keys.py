"""`metergate key`: the API keys of projects."""

from typing import TYPE_CHECKING, Annotated

import typer

from admin.cli.command import Request, common

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from ledger.settings import LedgerSettings
    from ledger.tables.tenancy import ApiKey

app = typer.Typer(help="API keys: made in a project, shown once.", no_args_is_help=True)

KeyId = Annotated[
    str, typer.Argument(metavar="KEY_ID", help="The key's id, key_..., not the key.", show_default=False)
]


@app.command()
@common
def create(
    request: Request,
    project: Annotated[str, typer.Option("--project", metavar="ID", help="Whose key.", show_default=False)],
    name: Annotated[str, typer.Option("--name", help="What people call it.")] = "API key",
    expires: Annotated[
        str | None,
        typer.Option(
            "--expires",
            metavar="WHEN",
            help="A duration such as 30d, or an ISO 8601 time. Never, unless given.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Make a key. It is shown this once: the ledger keeps only a digest."""
    from admin.schemas import NewKey
    from admin.times import parse_expiry
    from ledger import tenancy
    from ledger.settings import pepper

    async def make(session: "AsyncSession", settings: "LedgerSettings", now: int) -> "tuple[ApiKey, str]":
        expires_us = None if expires is None else parse_expiry(expires, now)
        return await tenancy.create_api_key(session, pepper(settings), project, name, now, expires_us)

    key, secret = request.write(make)
    request.show(
        NewKey.made(key, secret).model_dump(mode="json"), note="Keep the key now: it is not shown again."
    )


@app.command("list")
@common
def list_(
    request: Request,
    project: Annotated[
        str | None, typer.Option("--project", metavar="ID", help="Only this project's.", show_default=False)
    ] = None,
    tenant: Annotated[
        str | None, typer.Option("--tenant", metavar="ID", help="Only this tenant's.", show_default=False)
    ] = None,
) -> None:
    """List the keys, the oldest first, without their secrets."""
    from admin.schemas import KeyView
    from ledger import tenancy

    keys = request.read(lambda session: tenancy.list_api_keys(session, project_id=project, tenant_id=tenant))
    request.show_all(
        [KeyView.of(key).model_dump(mode="json") for key in keys],
        ("id", "project_id", "name", "state", "redacted", "expires_at", "last_used_at"),
        none="no keys: make one with `metergate key create --project ID`",
    )


@app.command()
@common
def show(request: Request, key_id: KeyId) -> None:
    """Show a key, without its secret."""
    from admin.schemas import KeyView
    from ledger import tenancy

    key = request.read(lambda session: tenancy.get_api_key(session, key_id))
    request.show(KeyView.of(key).model_dump(mode="json"))


@app.command()
@common
def revoke(request: Request, key_id: KeyId) -> None:
    """End a key for good, within a second."""
    from ledger import tenancy

    _show_changed(
        request, request.write(lambda session, _, now: tenancy.revoke_api_key(session, key_id, now))
    )


@app.command()
@common
def block(request: Request, key_id: KeyId) -> None:
    """Refuse a key, within a second, until it is unblocked."""
    from ledger import tenancy

    _show_changed(request, request.write(lambda session, _, now: tenancy.block_api_key(session, key_id, now)))


@app.command()
@common
def unblock(request: Request, key_id: KeyId) -> None:
    """Let a blocked key in again."""
    from ledger import tenancy

    _show_changed(
        request, request.write(lambda session, _, now: tenancy.unblock_api_key(session, key_id, now))
    )


def _show_changed(request: Request, key: "ApiKey") -> None:
    from admin.schemas import KeyView

    request.show(KeyView.of(key).model_dump(mode="json"))
