"""`metergate engine`: the engine simulator."""

import os
import sys

import typer

app = typer.Typer(help="Engines.", no_args_is_help=True)


@app.callback()
def engines() -> None:
    """Engines (a group of its own, though it has one command)."""


@app.command(
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def simulate(context: typer.Context) -> None:
    """Run the engine simulator: a vLLM look-alike. --help lists its options."""
    from admin.cli.programs import import_path

    command = [sys.executable, "-P", "-m", "proxy.simulator", *context.args]
    os.execve(command[0], command, {**os.environ, **import_path()})  # noqa: S606 - our own module
