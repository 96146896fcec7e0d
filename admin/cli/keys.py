"""`metergate key`: the API keys of projects."""

from typing import TYPE_CHECKING, Annotated

import typer

from admin.cli.command import ExpiryOption, Request, common
from admin.cli.restrictions import (
    AllowModel,
    AnyAddress,
    AnyModel,
    AnyScope,
    Cidrs,
    DenyModel,
    ScopeNames,
    models_of,
    one_of,
)

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
    expires: ExpiryOption = None,
    allow: AllowModel = None,
    deny: DenyModel = None,
    scopes: ScopeNames = None,
    cidrs: Cidrs = None,
) -> None:
    """Make a key. It is shown this once: the ledger keeps only a digest."""
    from admin.restrictions import networks_of, scopes_of
    from admin.schemas import NewKey
    from admin.times import parse_expiry
    from ledger import tenancy
    from ledger.settings import pepper

    permissions, key_scopes, networks = models_of(allow, deny), scopes_of(scopes), networks_of(cidrs)

    async def make(session: "AsyncSession", settings: "LedgerSettings", now: int) -> "tuple[ApiKey, str]":
        expires_us = None if expires is None else parse_expiry(expires, now)
        return await tenancy.create_api_key(
            session,
            pepper(settings),
            project,
            name,
            now,
            expires_us,
            model_permissions=permissions,
            scopes=key_scopes,
            networks=networks,
            by=request.actor,
        )

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
def update(
    request: Request,
    key_id: KeyId,
    allow: AllowModel = None,
    deny: DenyModel = None,
    any_model: AnyModel = False,
    scopes: ScopeNames = None,
    any_scope: AnyScope = False,
    cidrs: Cidrs = None,
    any_address: AnyAddress = False,
) -> None:
    """Change what a key may do, within a second: each list that is given takes the place of the old one."""
    from admin.restrictions import networks_of, scopes_of
    from ledger import tenancy

    one_of("--allow-model", allow, "--deny-model", deny, "--any-model", any_model)
    one_of("--scope", scopes, "--any-scope", any_scope)
    one_of("--cidr", cidrs, "--any-address", any_address)
    if not (allow or deny or any_model or scopes or any_scope or cidrs or any_address):
        raise typer.BadParameter("say what to change: see --help")
    permissions, key_scopes, networks = models_of(allow, deny), scopes_of(scopes), networks_of(cidrs)

    async def change(session: "AsyncSession", _: "LedgerSettings", now: int) -> "ApiKey":
        if allow or deny or any_model:
            await tenancy.set_key_models(session, key_id, permissions, now, by=request.actor)
        if scopes or any_scope:
            await tenancy.set_key_scopes(session, key_id, key_scopes, now, by=request.actor)
        if cidrs or any_address:
            await tenancy.set_key_networks(session, key_id, networks, now, by=request.actor)
        return await tenancy.get_api_key(session, key_id)

    _show_changed(request, request.write(change))


@app.command()
@common
def revoke(request: Request, key_id: KeyId) -> None:
    """End a key for good, within a second."""
    from ledger import tenancy

    _show_changed(
        request,
        request.write(lambda session, _, now: tenancy.revoke_api_key(session, key_id, now, by=request.actor)),
    )


@app.command()
@common
def block(request: Request, key_id: KeyId) -> None:
    """Refuse a key, within a second, until it is unblocked."""
    from ledger import tenancy

    _show_changed(
        request,
        request.write(lambda session, _, now: tenancy.block_api_key(session, key_id, now, by=request.actor)),
    )


@app.command()
@common
def unblock(request: Request, key_id: KeyId) -> None:
    """Let a blocked key in again."""
    from ledger import tenancy

    _show_changed(
        request,
        request.write(
            lambda session, _, now: tenancy.unblock_api_key(session, key_id, now, by=request.actor)
        ),
    )


def _show_changed(request: Request, key: "ApiKey") -> None:
    from admin.schemas import KeyView

    request.show(KeyView.of(key).model_dump(mode="json"))
