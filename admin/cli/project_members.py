"""`metergate project-member`: who is in a project, in OpenAI's shapes. The project says which tenant."""

from enum import StrEnum
from typing import Annotated, Any

import typer

from admin.cli import seconds
from admin.cli.command import Request, resource
from admin.cli.people import Who, id_of

app = typer.Typer(help="Project members: people who are in a project.", no_args_is_help=True)


class Part(StrEnum):
    """What a member is in a project."""

    MEMBER = "member"
    OWNER = "owner"


InProject = Annotated[
    str, typer.Option("--project", metavar="ID", help="Of this project.", show_default=False)
]
PART = "What they are there: an owner may what an admin may, a member what a reader may."


@app.command()
@resource
def add(
    request: Request,
    user: Who,
    project: InProject,
    role: Annotated[Part, typer.Option("--role", help=PART)] = Part.MEMBER,
) -> None:
    """Put a user of the tenant into a project."""
    order = {"user_id": id_of(request, user), "role": role}
    _show(request, request.api.organization().post("projects", project, "users", body=order))


@app.command("list")
@resource
def list_(request: Request, project: InProject) -> None:
    """List who is in a project, in the order they were added."""
    members = request.api.organization().every("projects", project, "users")
    request.show_all(
        [_told(request, member) for member in members],
        ("id", "email", "name", "role", "added_at"),
        none="nobody: put somebody in with `metergate project-member add USER --project ID`",
    )


@app.command()
@resource
def show(request: Request, user: Who, project: InProject) -> None:
    """Show somebody in a project."""
    user_id = id_of(request, user)
    _show(request, request.api.organization().get("projects", project, "users", user_id))


@app.command("set-role")
@resource
def set_role(
    request: Request,
    user: Who,
    project: InProject,
    role: Annotated[Part, typer.Option("--role", help=PART, show_default=False)],
) -> None:
    """Give somebody in a project another role there."""
    words = ("projects", project, "users", id_of(request, user))
    _show(request, request.api.organization().post(*words, body={"role": role}))


@app.command()
@resource
def remove(request: Request, user: Who, project: InProject) -> None:
    """Take somebody out of a project, within a second for their keys there; they stay in the tenant."""
    user_id = id_of(request, user)
    request.show(request.api.organization().delete("projects", project, "users", user_id))


def _show(request: Request, member: dict[str, Any]) -> None:
    request.show(_told(request, member))


def _told(request: Request, member: dict[str, Any]) -> dict[str, Any]:
    return seconds.told(request, member, "added_at")
