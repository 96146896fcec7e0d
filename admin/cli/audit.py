"""`metergate audit`: who changed what."""

from typing import Annotated

import typer

from admin.cli.command import Request, common, now_us

app = typer.Typer(help="The audit log: who changed what, and when.", no_args_is_help=True)


@app.command("list")
@common
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
    from admin.audit_schemas import AuditView
    from admin.times import parse_since
    from ledger.audit_pages import AuditFilter, page

    wanted = AuditFilter(
        tenant_id=tenant,
        from_us=None if since is None else parse_since(since, now_us()),
        project_ids=[project] if project else (),
        events=event or (),
        actor_ids=[actor] if actor else (),
        subject_ids=[subject] if subject else (),
    )
    found = request.read(lambda session: page(session, wanted, limit, after=after))
    request.show_all(
        [AuditView.of(row).model_dump(mode="json") for row in found.events],
        ("at", "event", "subject_id", "actor_name", "address", "after"),
        none="nothing was changed",
    )
