"""`metergate backend`: the engines."""

import typer

from admin.cli.command import Request, resource

app = typer.Typer(help="Backends: the engines, as the control plane knows them.", no_args_is_help=True)


@app.command("list")
@resource
def list_(request: Request) -> None:
    """List the engines by URL: their models, and when they last answered a background worker."""
    backends = request.api.every("backends")
    if not request.as_json:
        backends = [{**each, "models": [model["model"] for model in each["models"]]} for each in backends]
    request.show_all(
        backends,
        ("url", "is_served_here", "last_answered_at", "models"),
        none="no engines: none is named here, and no background worker has asked any",
    )
