"""`metergate key`: the API keys of projects."""

from typing import Annotated, Any

import typer

from admin.cli.api import given
from admin.cli.command import ExpiryOption, Request, resource
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
    scopes_of,
)

app = typer.Typer(help="API keys: made in a project, shown once.", no_args_is_help=True)

ONCE = "Keep the key now: it is not shown again."
KeyId = Annotated[
    str, typer.Argument(metavar="KEY_ID", help="The key's id, key_..., not the key.", show_default=False)
]

OwnerId = Annotated[
    str | None,
    typer.Option(
        "--owner",
        metavar="ID",
        help="A user (user-...) or a service account (svc_acct_...) with a part in the project.",
        show_default=False,
    ),
]
TagTexts = Annotated[
    list[str] | None,
    typer.Option(
        "--tag", metavar="NAME=VALUE", help="For your own bookkeeping. Repeatable.", show_default=False
    ),
]


@app.command()
@resource
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
    owner: OwnerId = None,
) -> None:
    """Make a key. It is shown this once: the ledger keeps only a digest."""
    from ledger.tags import Tags

    order = given(
        name=name,
        expires=expires,
        model_permissions=models_of(allow, deny),
        scopes=scopes_of(scopes),
        cidrs=cidrs or None,
        tags=dict(Tags.parse(tags).pairs) if tags else None,
        owner=owner,
    )
    request.show(request.api.post("projects", project, "keys", body=order), note=ONCE)


@app.command()
@resource
def rotate(
    request: Request,
    key_id: KeyId,
    grace: Annotated[
        str,
        typer.Option("--grace", metavar="TIME", help="How long the secret of before goes on; 0: not at all."),
    ] = "24h",
) -> None:
    """Give a key a new secret, shown this once; the one of before goes on until the grace ends."""
    request.show(request.api.post("keys", key_id, "rotate", body={"grace": grace}), note=ONCE)


@app.command("list")
@resource
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
    request.show_all(
        request.api.every("keys", project_id=project, tenant_id=tenant),
        ("id", "project_id", "name", "state", "redacted", "expires_at", "last_used_at"),
        none="no keys: make one with `metergate key create --project ID`",
    )


@app.command()
@resource
def show(request: Request, key_id: KeyId) -> None:
    """Show a key, without its secrets, and when each of them was last used."""
    request.show(request.api.get("keys", key_id))


@app.command()
@resource
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
    owner: OwnerId = None,
    no_owner: Annotated[bool, typer.Option("--no-owner", help="The project itself has it.")] = False,
) -> None:
    """Change what a key is told, within a second: each list that is given takes the place of the old one."""
    from ledger.tags import Tags

    one_of("--allow-model", allow, "--deny-model", deny, "--any-model", any_model)
    one_of("--scope", scopes, "--any-scope", any_scope)
    one_of("--cidr", cidrs, "--any-address", any_address)
    one_of("--expires", expires, "--never-expires", never_expires)
    one_of("--tag", tags, "--no-tags", no_tags)
    one_of("--owner", owner, "--no-owner", no_owner)
    change: dict[str, Any] = {}
    if allow or deny or any_model:
        change["model_permissions"] = models_of(allow, deny)
    if scopes or any_scope:
        change["scopes"] = scopes_of(scopes)
    if cidrs or any_address:
        change["cidrs"] = cidrs or None
    if name is not None:
        change["name"] = name
    if expires is not None or never_expires:
        change["expires"] = expires
    if tags or no_tags:
        change["tags"] = dict(Tags.parse(tags or []).pairs)
    if owner is not None or no_owner:
        change["owner"] = owner
    if not change:
        raise typer.BadParameter("say what to change: see --help")
    request.show(request.api.patch("keys", key_id, body=change))


@app.command()
@resource
def revoke(request: Request, key_id: KeyId) -> None:
    """End a key for good, within a second."""
    request.show(request.api.post("keys", key_id, "revoke"))


@app.command()
@resource
def block(request: Request, key_id: KeyId) -> None:
    """Refuse a key, within a second, until it is unblocked."""
    request.show(request.api.post("keys", key_id, "block"))


@app.command()
@resource
def unblock(request: Request, key_id: KeyId) -> None:
    """Let a blocked key in again."""
    request.show(request.api.post("keys", key_id, "unblock"))
