"""`metergate doctor`: what is wrong with everything that a metergate needs, and what to do."""

import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from admin.cli.chosen import Chosen
from admin.cli.command import Request, common, now_us, print_json

if TYPE_CHECKING:
    from admin.doctor.finding import Finding

COLORS = {"ok": "green", "note": "yellow", "wrong": "red"}


def register(app: typer.Typer) -> None:
    """Adds the command to the tree."""
    app.command()(doctor)


@common
def doctor(
    request: Request,
    seconds: Annotated[
        float, typer.Option("--seconds", min=0.1, max=600, help="How long to wait for what hangs, at most.")
    ] = 5.0,
) -> None:
    """Look at settings, data folder, permissions, ports, clocks, database, ledger, engines, journals and
    mail, and say what to do; within seconds, whatever hangs. Exit status 1 if something is wrong.
    """
    from admin.cli.settings import resolve
    from admin.doctor.examination import examine, refused
    from admin.doctor.finding import State, worst
    from ledger.errors import SettingsRefused

    is_left = False
    try:
        proxy, admin = resolve(Chosen(request.data_dir, request.database_url))
    except SettingsRefused as fault:
        findings = refused(fault)
    else:
        explicit = frozenset({"database_url"} if request.database_url else ())
        done = examine(proxy, admin, explicit=explicit, now_us=now_us(), seconds=seconds)
        findings, is_left = done.findings, done.is_left
    state = worst(findings)
    if request.as_json:
        print_json({"state": state, "findings": [asdict(finding) for finding in findings]})
    else:
        _print(findings)
    status = 1 if state is State.WRONG else 0
    if is_left:  # threads that hang, and libraries that would wait for them
        sys.stdout.flush()
        os._exit(status)
    if status:
        raise typer.Exit(status)


def _print(findings: "Sequence[Finding]") -> None:
    """A line of fact and one of what to do; a line with tabs into a pipe."""
    if not sys.stdout.isatty():
        for each in findings:
            typer.echo("\t".join((each.state, each.check, each.about or "-", each.fact, each.do or "-")))
        return
    for each in findings:
        state = typer.style(f"{each.state:<5}", fg=COLORS[each.state], bold=each.state != "ok")
        about = f"{each.about}: " if each.about else ""
        typer.echo(f"{state}  {each.check:<20}  {about}{each.fact}")
        if each.do:
            typer.echo(f"{'':<27}  -> {each.do}")
    counts = {state: sum(each.state == state for each in findings) for state in COLORS}
    typer.echo(", ".join(f"{count} {state}" for state, count in counts.items()))
