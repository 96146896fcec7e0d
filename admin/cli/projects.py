"""`metergate project`: the parts of a tenant."""

from typing import Annotated

import typer

from admin.cli.command import GivenName, NameOption, Request, common, name_of
from admin.cli.restrictions import AllowModel, AnyModel, DenyModel, models_of, one_of

app = typer.Typer(help="Projects: parts of a tenant, with their own keys.", no_args_is_help=True)

ProjectId = Annotated[str, typer.Argument(metavar="PROJECT_ID", show_default=False)]


@app.command()
@common
def create(
    request: Request,
    tenant: Annotated[str, typer.Option("--tenant", metavar="ID", help="Whose project.", show_default=False)],
    name: GivenName = None,
    name_option: NameOption = None,
    allow: AllowModel = None,
    deny: DenyModel = None,
) -> None:
    """Make a project of a tenant."""
    from admin.schemas import ProjectView
    from ledger import tenancy

    chosen, permissions = name_of(name, name_option), models_of(allow, deny)
    project = request.write(
        lambda session, _, now: tenancy.create_project(
            session, tenant, chosen, now, model_permissions=permissions, by=request.actor
        )
    )
    request.show(ProjectView.of(project).model_dump(mode="json"))


@app.command("list")
@common
def list_(
    request: Request,
    tenant: Annotated[
        str | None, typer.Option("--tenant", metavar="ID", help="Only this tenant's.", show_default=False)
    ] = None,
) -> None:
    """List the projects, the oldest first."""
    from admin.schemas import ProjectView
    from ledger import tenancy

    projects = request.read(lambda session: tenancy.list_projects(session, tenant))
    request.show_all(
        [ProjectView.of(project).model_dump(mode="json") for project in projects],
        ("id", "tenant_id", "name", "state", "created_at"),
        none="no projects: make one with `metergate project create NAME --tenant ID`",
    )


@app.command()
@common
def show(request: Request, project_id: ProjectId) -> None:
    """Show a project."""
    from admin.schemas import ProjectView
    from ledger import tenancy

    project = request.read(lambda session: tenancy.get_project(session, project_id))
    request.show(ProjectView.of(project).model_dump(mode="json"))


@app.command()
@common
def update(
    request: Request,
    project_id: ProjectId,
    allow: AllowModel = None,
    deny: DenyModel = None,
    any_model: AnyModel = False,
) -> None:
    """Change what the keys of a project may do, within a second: a list takes the place of the old one."""
    from admin.schemas import ProjectView
    from ledger import tenancy

    one_of("--allow-model", allow, "--deny-model", deny, "--any-model", any_model)
    if not (allow or deny or any_model):
        raise typer.BadParameter("say what to change: see --help")
    permissions = models_of(allow, deny)
    project = request.write(
        lambda session, _, now: tenancy.set_project_models(
            session, project_id, permissions, now, by=request.actor
        )
    )
    request.show(ProjectView.of(project).model_dump(mode="json"))


@app.command()
@common
def block(request: Request, project_id: ProjectId) -> None:
    """Refuse every call of a project, within a second, until it is unblocked."""
    _set_state(request, project_id, "blocked")


@app.command()
@common
def unblock(request: Request, project_id: ProjectId) -> None:
    """Let a blocked project in again."""
    _set_state(request, project_id, "active")


@app.command()
@common
def archive(request: Request, project_id: ProjectId) -> None:
    """End a project for good: its keys stop working, its usage stays in the book."""
    _set_state(request, project_id, "archived")


def _set_state(request: Request, project_id: str, state: str) -> None:
    from admin.schemas import ProjectView
    from ledger import tenancy
    from ledger.states import ProjectState

    project = request.write(
        lambda session, _, now: tenancy.set_project_state(
            session, project_id, ProjectState(state), now, by=request.actor
        )
    )
    request.show(ProjectView.of(project).model_dump(mode="json"))
