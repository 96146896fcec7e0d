"""`metergate audit`: who changed what."""

from typing import Annotated

import typer

from admin.cli.command import Request, resource

app = typer.Typer(help="The audit log: who changed what, and when.", no_args_is_help=True)


@app.command("list")
@resource
def list_(
    request: Request,
    tenant: Annotated[
        str | None, typer.Option("--tenant", metavar="ID", help="Only this tenant's.", show_default=False)
    ] = None,
    project: Annotated[
        str | None, typer.Option("--project", metavar="ID", help="Only this project's.", show_default=False)
    ] = None,
    event: Annotated[
        list[str] | None,
        typer.Option(
            "--event", metavar="NAME", help="Such as api_key.created; may be given again.", show_default=False
        ),
    ] = None,
    actor: Annotated[
        str | None,
        typer.Option("--actor", metavar="ID", help="Only by this key or user.", show_default=False),
    ] = None,
    subject: Annotated[
        str | None,
        typer.Option(
            "--subject", metavar="ID", help="Only of this key, project, limit...", show_default=False
        ),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            "--since", metavar="WHEN", help="A duration such as 24h, or a time.", show_default=False
        ),
    ] = None,
    limit: Annotated[
        int, typer.Option("--limit", min=1, max=100_000, metavar="N", help="At most so many.")
    ] = 50,
    after: Annotated[
        str | None,
        typer.Option(
            "--after", metavar="ID", help="Go on after this event, to older ones.", show_default=False
        ),
    ] = None,
) -> None:
    """List what was changed, the newest first: by whom, when, and from where."""
    events = request.api.every(
        "audit_events",
        most=limit,
        tenant_id=tenant,
        project_id=project,
        event=event,
        actor_id=actor,
        subject_id=subject,
        since=since,
        after=after,
    )
    request.show_all(
        events, ("at", "event", "subject_id", "actor_name", "address", "after"), none="nothing was changed"
    )
