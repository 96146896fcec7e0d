"""The tree of commands, and what happens when one fails.

A command line names one command: only the module of its first word is imported, which a start waits for.
"""

import os
import sys
import tempfile
import traceback
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Final, NoReturn

import typer

from admin.cli.command import Fault

GROUPS: Final = {
    "tenant": "tenants",
    "project": "projects",
    "project-member": "project_members",
    "key": "keys",
    "service-account": "service_accounts",
    "admin-key": "admin_keys",
    "audit": "audit",
    "user": "users",
    "invite": "invites",
    "session": "sessions",
    "limit": "limits",
    "spend-limit": "spend_limits",
    "alert": "alerts",
    "reservation": "reservations",
    "price": "prices",
    "usage": "usage",
    "backend": "backends",
    "ledger": "ledger",
    "journal": "journal",
    "db": "database",
    "engine": "engine",
}
"""Commands of more than one word, by their first, and the module of admin.cli that has `app`."""
COMMANDS: Final = {
    "up": "servers",
    "proxy": "servers",
    "admin": "servers",
    "worker": "servers",
    "doctor": "doctor",
    "reconcile": "reconcile",
}
"""Commands of one word, and the module that has `register`."""


def tree(word: str | None = None) -> typer.Typer:
    """The commands that begin with a word; all of them where none does: whoever asks for help sees all."""
    app = typer.Typer(
        name="metergate",
        help="An OpenAI-compatible edge proxy in front of vLLM: keys, exact metering, a ledger.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    app.callback()(_nothing)  # without it, a tree of one command has no first word
    commands, groups = _only(COMMANDS, word), _only(GROUPS, word)
    if not commands and not groups:
        commands, groups = COMMANDS, GROUPS
    for module in dict.fromkeys(commands.values()):
        import_module(f"admin.cli.{module}").register(app)
    for name, module in groups.items():
        app.add_typer(import_module(f"admin.cli.{module}").app, name=name)
    return app


def _only(named: Mapping[str, str], word: str | None) -> Mapping[str, str]:
    return {word: named[word]} if word is not None and word in named else {}


def _nothing() -> None:
    """Every command does its own."""


def main() -> NoReturn:
    """Runs the command line and exits: 0 done, 1 a fault, 2 a miswritten command, 130 interrupted."""
    try:
        tree(sys.argv[1] if len(sys.argv) > 1 else None)()
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
