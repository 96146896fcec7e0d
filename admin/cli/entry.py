"""The tree of commands, and what happens when one fails."""

import os
import sys
import tempfile
import traceback
from pathlib import Path
from typing import NoReturn

import typer

from admin.cli import (
    admin_keys,
    audit,
    database,
    doctor,
    engine,
    journal,
    keys,
    ledger,
    limits,
    prices,
    projects,
    reconcile,
    servers,
    tenants,
    usage,
)
from admin.cli.command import Fault

app = typer.Typer(
    name="metergate",
    help="An OpenAI-compatible edge proxy in front of vLLM: keys, exact metering, a ledger.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
servers.register(app)
app.add_typer(tenants.app, name="tenant")
app.add_typer(projects.app, name="project")
app.add_typer(keys.app, name="key")
app.add_typer(admin_keys.app, name="admin-key")
app.add_typer(audit.app, name="audit")
app.add_typer(limits.app, name="limit")
app.add_typer(prices.app, name="price")
app.add_typer(usage.app, name="usage")
app.add_typer(ledger.app, name="ledger")
app.add_typer(journal.app, name="journal")
app.add_typer(database.app, name="db")
app.add_typer(engine.app, name="engine")
doctor.register(app)
reconcile.register(app)


def main() -> NoReturn:
    """Runs the command line and exits: 0 done, 1 a fault, 2 a miswritten command, 130 interrupted."""
    try:
        app()
    except Fault as fault:
        for line in str(fault).splitlines():
            print(f"metergate: {line}", file=sys.stderr)
        status = 1
    except KeyboardInterrupt:
        status = 130
    except BrokenPipeError:  # `metergate usage export | head`: the reader has what it wanted
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 1
    except Exception as fault:
        if _is_ledger_fault(fault):
            for line in str(fault).splitlines():
                print(f"metergate: {line}", file=sys.stderr)
        else:
            where = _keep_traceback()
            print(
                f"metergate: unexpected {type(fault).__name__}; the details are in {where}", file=sys.stderr
            )
        status = 1
    else:
        status = 0
    sys.exit(status)


def _is_ledger_fault(fault: Exception) -> bool:
    """Without importing the ledger's errors where nothing has."""
    errors = sys.modules.get("ledger.errors")
    return errors is not None and isinstance(fault, errors.LedgerError)


def _keep_traceback() -> Path:
    """Writes what went wrong where only this user can read it."""
    descriptor, name = tempfile.mkstemp(prefix="metergate-fault-", suffix=".txt")
    with os.fdopen(descriptor, "w") as file:
        traceback.print_exc(file=file)
    return Path(name)
