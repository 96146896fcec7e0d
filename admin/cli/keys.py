"""`metergate key`: the API keys of projects."""

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Annotated, Any

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

    from admin.schemas import KeyView, NewKey
    from ledger.settings import LedgerSettings
    from ledger.tables.tenancy import ApiKey

app = typer.Typer(help="API keys: made in a project, shown once.", no_args_is_help=True)

ONCE = "Keep the key now: it is not shown again."
KeyId = Annotated[
    str, typer.Argument(metavar="KEY_ID", help="The key's id, key_..., not the key.", show_default=False)
]

TagTexts = Annotated[
    list[str] | None,
    typer.Option(
        "--tag", metavar="NAME=VALUE", help="For your own bookkeeping. Repeatable.", show_default=False
    ),
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
    tags: TagTexts = None,
) -> None:
    """Make a key. It is shown this once: the ledger keeps only a digest."""
    from admin.key_views import new_key
    from admin.restrictions import networks_of, scopes_of
    from admin.times import parse_expiry
    from ledger import tenancy
    from ledger.settings import pepper
    from ledger.tags import Tags

    permissions, key_scopes, networks = models_of(allow, deny), scopes_of(scopes), networks_of(cidrs)

    async def make(session: "AsyncSession", settings: "LedgerSettings", now: int) -> "NewKey":
        expires_us = None if expires is None else parse_expiry(expires, now)
        key, secret = await tenancy.create_api_key(
            session,
            pepper(settings),
            project,
            name,
            now,
            expires_us,
            model_permissions=permissions,
            scopes=key_scopes,
            networks=networks,
            tags=Tags.parse(tags) if tags else None,
            by=request.actor,
        )
        return await new_key(session, key, secret)

    request.show(request.write(make).model_dump(mode="json"), note=ONCE)


@app.command()
@common
def rotate(
    request: Request,
    key_id: KeyId,
    grace: Annotated[
        str,
        typer.Option("--grace", metavar="TIME", help="How long the secret of before goes on; 0: not at all."),
    ] = "24h",
) -> None:
    """Give a key a new secret, shown this once; the one of before goes on until the grace ends."""
    from admin.key_views import new_key
    from admin.times import parse_grace
    from ledger import key_secrets
    from ledger.settings import pepper

    grace_us = parse_grace(grace)

    async def turn(session: "AsyncSession", settings: "LedgerSettings", now: int) -> "NewKey":
        key, secret = await key_secrets.rotate(
            session, pepper(settings), key_id, grace_us, now, by=request.actor
        )
        return await new_key(session, key, secret)

    request.show(request.write(turn).model_dump(mode="json"), note=ONCE)


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
    from admin.key_views import views_of
    from ledger import tenancy

    async def look(session: "AsyncSession") -> "list[KeyView]":
        return await views_of(session, await tenancy.list_api_keys(session, project, tenant))

    request.show_all(
        [view.model_dump(mode="json") for view in request.read(look)],
        ("id", "project_id", "name", "state", "redacted", "expires_at", "last_used_at"),
        none="no keys: make one with `metergate key create --project ID`",
    )


@app.command()
@common
def show(request: Request, key_id: KeyId) -> None:
    """Show a key, without its secrets, and when each of them was last used."""
    from admin.key_views import view_of
    from ledger import tenancy

    async def look(session: "AsyncSession") -> "KeyView":
        return await view_of(session, await tenancy.get_api_key(session, key_id))

    request.show(request.read(look).model_dump(mode="json"))


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
    name: Annotated[
        str | None, typer.Option("--name", help="What people call it from now on.", show_default=False)
    ] = None,
    expires: ExpiryOption = None,
    never_expires: Annotated[bool, typer.Option("--never-expires", help="It has no end any more.")] = False,
    tags: TagTexts = None,
    no_tags: Annotated[bool, typer.Option("--no-tags", help="It has no tags any more.")] = False,
) -> None:
    """Change what a key is told, within a second: each list that is given takes the place of the old one."""
    from admin.key_views import view_of
    from admin.restrictions import networks_of, scopes_of
    from admin.times import parse_expiry
    from ledger.key_settings import KeySettings, change_api_key
    from ledger.tags import Tags

    one_of("--allow-model", allow, "--deny-model", deny, "--any-model", any_model)
    one_of("--scope", scopes, "--any-scope", any_scope)
    one_of("--cidr", cidrs, "--any-address", any_address)
    one_of("--expires", expires, "--never-expires", never_expires)
    one_of("--tag", tags, "--no-tags", no_tags)
    settings = KeySettings()
    if allow or deny or any_model:
        settings["model_permissions"] = models_of(allow, deny)
    if scopes or any_scope:
        settings["scopes"] = scopes_of(scopes)
    if cidrs or any_address:
        settings["networks"] = networks_of(cidrs)
    if name is not None:
        settings["name"] = name
    if never_expires:
        settings["expires_us"] = None
    if tags or no_tags:
        settings["tags"] = Tags.parse(tags) if tags else None
    if not settings and expires is None:
        raise typer.BadParameter("say what to change: see --help")

    async def change(session: "AsyncSession", _: "LedgerSettings", now: int) -> "KeyView":
        if expires is not None:
            settings["expires_us"] = parse_expiry(expires, now)
        return await view_of(session, await change_api_key(session, key_id, settings, now, by=request.actor))

    request.show(request.write(change).model_dump(mode="json"))


@app.command()
@common
def revoke(request: Request, key_id: KeyId) -> None:
    """End a key for good, within a second."""
    from ledger import tenancy

    _show_changed(
        request, lambda session, now: tenancy.revoke_api_key(session, key_id, now, by=request.actor)
    )


@app.command()
@common
def block(request: Request, key_id: KeyId) -> None:
    """Refuse a key, within a second, until it is unblocked."""
    from ledger import tenancy

    _show_changed(request, lambda session, now: tenancy.block_api_key(session, key_id, now, by=request.actor))


@app.command()
@common
def unblock(request: Request, key_id: KeyId) -> None:
    """Let a blocked key in again."""
    from ledger import tenancy

    _show_changed(
        request, lambda session, now: tenancy.unblock_api_key(session, key_id, now, by=request.actor)
    )


def _show_changed(
    request: Request, change: "Callable[[AsyncSession, int], Coroutine[Any, Any, ApiKey]]"
) -> None:
    from admin.key_views import view_of

    async def work(session: "AsyncSession", _: "LedgerSettings", now: int) -> "KeyView":
        return await view_of(session, await change(session, now))

    request.show(request.write(work).model_dump(mode="json"))
