"""`metergate up`, `proxy`, `admin`, `worker`: their options. What they start is composed in serve.py."""

import gc
import sys
from typing import Annotated

import typer

from admin.cli.chosen import Chosen
from admin.cli.command import DatabaseUrl, DataDir

Engines = Annotated[
    list[str] | None,
    typer.Option(
        "--engine",
        metavar="URL",
        help="An engine's base URL; may be repeated (METERGATE_ENGINES).",
        show_default=False,
    ),
]
Port = Annotated[
    int | None, typer.Option("--port", help="Port of the data plane (8080).", show_default=False)
]
AdminPort = Annotated[
    int | None, typer.Option("--admin-port", help="Port of the control plane (8081).", show_default=False)
]
Host = Annotated[
    str | None, typer.Option("--host", help="Address of the data plane (127.0.0.1).", show_default=False)
]
AdminHost = Annotated[
    str | None,
    typer.Option("--admin-host", help="Address of the control plane (127.0.0.1).", show_default=False),
]
Workers = Annotated[
    int | None, typer.Option("--workers", help="Worker processes of the data plane (1).", show_default=False)
]
MetricsPort = Annotated[
    int | None, typer.Option("--metrics-port", help="Port of the metrics page (9464).", show_default=False)
]


def register(app: typer.Typer) -> None:
    """Adds the commands to the tree."""
    for command in (up, proxy, admin, worker):
        app.command()(command)


def up(
    engine: Engines = None,
    port: Port = None,
    admin_port: AdminPort = None,
    workers: Workers = None,
    database_url: DatabaseUrl = None,
    data_dir: DataDir = None,
    host: Host = None,
    admin_host: AdminHost = None,
    metrics_port: MetricsPort = None,
) -> None:
    """Run everything on this machine: data plane, control plane, background worker."""
    chosen = Chosen(data_dir, database_url, engine, host, port, workers, admin_host, admin_port, metrics_port)
    _run(chosen, ("proxy", "admin", "worker"))


def proxy(
    engine: Engines = None,
    port: Port = None,
    workers: Workers = None,
    database_url: DatabaseUrl = None,
    data_dir: DataDir = None,
    host: Host = None,
    metrics_port: MetricsPort = None,
) -> None:
    """Run the data plane alone (production)."""
    chosen = Chosen(
        data_dir, database_url, engine, host=host, port=port, workers=workers, metrics_port=metrics_port
    )
    _run(chosen, ("proxy",))


def admin(
    admin_port: AdminPort = None,
    database_url: DatabaseUrl = None,
    data_dir: DataDir = None,
    admin_host: AdminHost = None,
) -> None:
    """Run the control plane alone (production)."""
    _run(Chosen(data_dir, database_url, admin_host=admin_host, admin_port=admin_port), ("admin",))


def worker(database_url: DatabaseUrl = None, data_dir: DataDir = None) -> None:
    """Run the background worker alone (production)."""
    _run(Chosen(data_dir, database_url), ("worker",))


def _run(chosen: Chosen, roles: tuple[str, ...]) -> None:
    gc.disable()  # what is imported stays
    from admin.cli.serve import serve

    gc.freeze()
    gc.enable()
    sys.exit(serve(chosen, roles))
