"""`metergate session`: where people are logged in, and logging them out."""

from typing import Annotated

import typer

from admin.cli.command import Request, resource
from admin.cli.people import WHO, id_of

app = typer.Typer(help="Sessions: where people are logged in.", no_args_is_help=True)

OfUser = Annotated[str, typer.Option("--user", metavar="USER", help=WHO, show_default=False)]


@app.command("list")
@resource
def list_(request: Request, user: OfUser) -> None:
    """List where a user is logged in, the oldest first."""
    request.show_all(
        request.api.every("users", id_of(request, user), "sessions"),
        ("id", "created_at", "last_seen_at", "expires_at", "address", "user_agent"),
        none="they are logged in nowhere",
    )


@app.command()
@resource
def end(
    request: Request,
    user: OfUser,
    session_id: Annotated[
        str | None, typer.Argument(metavar="SESSION_ID", help="session_...", show_default=False)
    ] = None,
    everywhere: Annotated[bool, typer.Option("--all", help="All sessions of the user.")] = False,
) -> None:
    """Log a user out in one place, or everywhere, at once; they may log in again."""
    if (session_id is None) is not everywhere:
        raise typer.BadParameter("say which session, or --all", param_hint="SESSION_ID")
    one = () if session_id is None else (session_id,)
    request.show(request.api.delete("users", id_of(request, user), "sessions", *one))
