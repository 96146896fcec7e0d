"""`metergate project`: the parts of a tenant."""

from typing import Annotated, Any

import typer

from admin.cli.api import given
from admin.cli.command import GivenName, NameOption, Request, name_of, resource
from admin.cli.restrictions import AllowModel, AnyModel, DenyModel, models_of, one_of

app = typer.Typer(help="Projects: parts of a tenant, with their own keys.", no_args_is_help=True)

ProjectId = Annotated[str, typer.Argument(metavar="PROJECT_ID", show_default=False)]


@app.command()
@resource
def create(
    request: Request,
    tenant: Annotated[str, typer.Option("--tenant", metavar="ID", help="Whose project.", show_default=False)],
    name: GivenName = None,
    name_option: NameOption = None,
    allow: AllowModel = None,
    deny: DenyModel = None,
) -> None:
    """Make a project of a tenant."""
    order = given(name=name_of(name, name_option), model_permissions=models_of(allow, deny))
    request.show(request.api.post("tenants", tenant, "projects", body=order))


@app.command("list")
@resource
def list_(
    request: Request,
    tenant: Annotated[
        str | None, typer.Option("--tenant", metavar="ID", help="Only this tenant's.", show_default=False)
    ] = None,
) -> None:
    """List the projects, the oldest first."""
    request.show_all(
        request.api.every("projects", tenant_id=tenant),
        ("id", "tenant_id", "name", "state", "created_at"),
        none="no projects: make one with `metergate project create NAME --tenant ID`",
    )


@app.command()
@resource
def show(request: Request, project_id: ProjectId) -> None:
    """Show a project."""
    request.show(request.api.get("projects", project_id))


@app.command()
@resource
def update(
    request: Request,
    project_id: ProjectId,
    name: Annotated[
        str | None, typer.Option("--name", help="What people call it from now on.", show_default=False)
    ] = None,
    allow: AllowModel = None,
    deny: DenyModel = None,
    any_model: AnyModel = False,
) -> None:
    """Change a project's name, or what its keys may do, within a second: a list takes the place of the old
    one.
    """
    one_of("--allow-model", allow, "--deny-model", deny, "--any-model", any_model)
    change: dict[str, Any] = given(name=name)
    if allow or deny or any_model:
        change["model_permissions"] = models_of(allow, deny)
    if not change:
        raise typer.BadParameter("say what to change: see --help")
    request.show(request.api.patch("projects", project_id, body=change))


@app.command()
@resource
def block(request: Request, project_id: ProjectId) -> None:
    """Refuse every call of a project, within a second, until it is unblocked."""
    request.show(request.api.post("projects", project_id, "block"))


@app.command()
@resource
def unblock(request: Request, project_id: ProjectId) -> None:
    """Let a blocked project in again."""
    request.show(request.api.post("projects", project_id, "unblock"))


@app.command()
@resource
def archive(request: Request, project_id: ProjectId) -> None:
    """End a project for good: its keys stop working, its usage stays in the book."""
    request.show(request.api.post("projects", project_id, "archive"))
