"""`metergate service-account`: programs that have keys, in OpenAI's shapes."""

from enum import StrEnum
from typing import Annotated, Any

import typer

from admin.cli import seconds
from admin.cli.api import Api, given
from admin.cli.command import GivenName, NameOption, Request, name_of, resource
from admin.cli.restrictions import ScopeNames, scopes_of

app = typer.Typer(help="Service accounts: programs of a project, with keys.", no_args_is_help=True)

ONCE = "Keep the key now: it is not shown again."
AccountId = Annotated[str, typer.Argument(metavar="ACCOUNT_ID", help="svc_acct_...", show_default=False)]
InProject = Annotated[
    str, typer.Option("--project", metavar="ID", help="Of this project.", show_default=False)
]


class Part(StrEnum):
    """What an account is in its project."""

    MEMBER = "member"
    OWNER = "owner"


@app.command()
@resource
def create(
    request: Request,
    project: InProject,
    name: GivenName = None,
    name_option: NameOption = None,
    without_key: Annotated[
        bool, typer.Option("--without-key", help="Without a role and a key, for the time being.")
    ] = False,
) -> None:
    """Make a service account, and a key of it, which is shown this once."""
    order = {"name": name_of(name, name_option), "create_service_account_only": without_key}
    made = _api(request).post("projects", project, "service_accounts", body=order)
    request.show(_told(request, made), note="" if without_key else ONCE)


@app.command("list")
@resource
def list_(request: Request, project: InProject) -> None:
    """List a project's service accounts, the oldest first."""
    accounts = _api(request).every("projects", project, "service_accounts")
    request.show_all(
        [_told(request, account) for account in accounts],
        ("id", "name", "role", "created_at"),
        none="no service accounts: make one with `metergate service-account create NAME --project ID`",
    )


@app.command()
@resource
def show(request: Request, account_id: AccountId, project: InProject) -> None:
    """Show a service account."""
    account = _api(request).get("projects", project, "service_accounts", account_id)
    request.show(_told(request, account))


@app.command()
@resource
def update(
    request: Request,
    account_id: AccountId,
    project: InProject,
    name: Annotated[
        str | None, typer.Option("--name", help="What people call it from now on.", show_default=False)
    ] = None,
    role: Annotated[
        Part | None, typer.Option("--role", help="What it is in its project.", show_default=False)
    ] = None,
) -> None:
    """Change a service account."""
    change = given(name=name, role=role)
    if not change:
        raise typer.BadParameter("say what to change: see --help")
    account = _api(request).post("projects", project, "service_accounts", account_id, body=change)
    request.show(_told(request, account))


@app.command()
@resource
def key(
    request: Request,
    account_id: AccountId,
    project: InProject,
    name: Annotated[
        str | None, typer.Option("--name", help="What people call the key.", show_default=False)
    ] = None,
    scopes: ScopeNames = None,
) -> None:
    """Make a further key of a service account. It is shown this once."""
    order = given(name=name, scopes=scopes_of(scopes))
    words = ("projects", project, "service_accounts", account_id, "api_keys")
    request.show(_told(request, _api(request).post(*words, body=order)), note=ONCE)


@app.command()
@resource
def delete(request: Request, account_id: AccountId, project: InProject) -> None:
    """End a service account and all its keys for good, within a second."""
    request.show(_api(request).delete("projects", project, "service_accounts", account_id))


def _api(request: Request) -> Api:
    """The project says which tenant."""
    return request.api.organization()


def _told(request: Request, account: dict[str, Any]) -> dict[str, Any]:
    """As it is asked for: a key is told beside its account."""
    told = seconds.told(request, account, "created_at")
    if request.as_json:
        return told
    key = told.pop("api_key", None)
    return told if key is None else {**told, "key_id": key["id"], "key": key["value"]}
