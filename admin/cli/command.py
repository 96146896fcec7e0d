"""What every command shares: the options that say which ledger, the way to it, and how results are shown.

`resource` is for commands about what the control plane has: they call its API (admin/cli/api.py), at a URL or
on the database. `common` is for commands of the server itself, which work where its files are. Both give a
function their options as one argument, a Request.
"""

import functools
import inspect
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from admin.cli.api import Api
    from ledger.settings import LedgerSettings

Document = Mapping[str, Any]

DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", help="The data folder (METERGATE_DATA_DIR; ./data).", show_default=False),
]
DatabaseUrl = Annotated[
    str | None,
    typer.Option(
        "--database-url",
        help="sqlite:///... or postgresql://... (METERGATE_DATABASE_URL; SQLite in the data folder).",
        show_default=False,
    ),
]
Url = Annotated[
    str | None,
    typer.Option(
        "--url",
        metavar="URL",
        help="Ask the control plane there, with the admin key in METERGATE_ADMIN_KEY (METERGATE_ADMIN_URL).",
        show_default=False,
    ),
]
KeyFile = Annotated[
    Path | None,
    typer.Option(
        "--admin-key-file", metavar="FILE", help="The admin key is in this file.", show_default=False
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


def _refuse_url(url: str | None) -> None:
    if url is not None:
        raise typer.BadParameter("this command works on the server itself: run it there, without --url")


NoUrl = Annotated[str | None, typer.Option("--url", hidden=True, callback=_refuse_url)]


class Fault(Exception):
    """The command cannot do what was asked; the message is for the operator, one line or a few."""


@dataclass(slots=True)
class Request:
    """The options that every command takes, and what follows from them."""

    data_dir: Path | None
    database_url: str | None
    as_json: bool
    url: str | None = None
    admin_key_file: Path | None = None
    _api: "Api | None" = None

    def settings(self) -> "LedgerSettings":
        """The ledger's settings. Raises SettingsRefused."""
        from ledger.settings import LedgerSettings, load

        return load(LedgerSettings, data_dir=self.data_dir, database_url=self.database_url)

    @property
    def api(self) -> "Api":
        """The control plane's API. Raises Fault, LedgerError."""
        if self._api is None:
            from admin.cli.reaching import reach

            self._api = reach(self)
        return self._api

    def close(self) -> None:
        """Lets go of what it took."""
        if self._api is not None:
            self._api.server.close()

    def show(self, document: Document, *, note: str = "") -> None:
        """Prints one thing: as JSON, or a line for each field; `note` is for people only."""
        if self.as_json:
            print_json(document)
            return
        width = max(len(name) for name in document) + 1
        for name, value in document.items():
            typer.echo(f"{name + ':':<{width}} {cell(value)}")
        if note:
            typer.echo(note, err=True)

    def show_all(self, documents: Sequence[Document], columns: Sequence[str], *, none: str) -> None:
        """Prints many: as a JSON array, or a table of some columns; `none` is said where there are none."""
        if self.as_json:
            print_json(documents)
        elif not documents:
            typer.echo(none, err=True)
        else:
            print_table(documents, columns)


ExpiryOption = Annotated[
    str | None,
    typer.Option(
        "--expires",
        metavar="WHEN",
        help="A duration such as 30d, or an ISO 8601 time. Never, unless given.",
        show_default=False,
    ),
]
GivenName = Annotated[str | None, typer.Argument(metavar="NAME", show_default=False)]
NameOption = Annotated[
    str | None, typer.Option("--name", metavar="NAME", help="The same.", show_default=False)
]


def name_of(argument: str | None, option: str | None) -> str:
    """A name, given as an argument or with --name, as keys are named. Status 2 unless it is one of both;
    raises Refused.
    """
    from ledger.names import checked_name

    if (argument is None) == (option is None):
        raise typer.BadParameter("give a name", param_hint="NAME")
    return checked_name(argument or option or "")


def resource(function: Callable[..., None]) -> Callable[..., None]:
    """Gives a command about a resource its options: its first parameter, `request`, is made of them."""
    options = (_LEDGER[0], _LEDGER[1], _Option("url", Url), _Option("admin_key_file", KeyFile), _LEDGER[2])
    return _with_options(function, options)


def common(function: Callable[..., None]) -> Callable[..., None]:
    """The same for a command of the server itself: there is none at a URL."""
    return _with_options(function, (*_LEDGER, _Option("url", NoUrl)))


@dataclass(frozen=True, slots=True)
class _Option:
    name: str
    annotation: Any
    default: Any = None


_LEDGER = (
    _Option("data_dir", DataDir), _Option("database_url", DatabaseUrl), _Option("as_json", AsJson, False)
)  # fmt: skip


def _with_options(function: Callable[..., None], options: Sequence[_Option]) -> Callable[..., None]:
    signature = inspect.signature(function)
    own = list(signature.parameters.values())[1:]

    @functools.wraps(function)
    def command(**arguments: Any) -> None:
        request = Request(**{option.name: arguments.pop(option.name) for option in options})
        try:
            function(request, **arguments)
        finally:
            request.close()

    parameters = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own]
    parameters += [
        inspect.Parameter(
            option.name, inspect.Parameter.KEYWORD_ONLY, default=option.default, annotation=option.annotation
        )
        for option in options
    ]
    del command.__wrapped__  # typer reads the signature through it
    command.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return command


def now_us() -> int:
    """The command line's clock."""
    return time.time_ns() // 1000


def cell(value: object) -> str:
    """A value as a person reads it."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(cell, value)) or "-"
    if isinstance(value, dict):
        return "; ".join(f"{name} {cell(inner)}" for name, inner in value.items())
    return str(value)


def print_json(document: object) -> None:
    """One JSON document and a newline."""
    json.dump(document, sys.stdout, ensure_ascii=False, indent=2)
    sys.stdout.write("\n")


def print_table(documents: Sequence[Document], columns: Sequence[str]) -> None:
    """A table on a terminal; the same columns, with tabs between, into a pipe."""
    if not sys.stdout.isatty():
        for document in documents:
            typer.echo("\t".join(cell(document[column]) for column in columns))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        # What is given to the next command stays in one piece, to be copied: the other columns make room.
        table.add_column(column.replace("_", " "), overflow="fold", no_wrap=column == "id")
    for document in documents:
        table.add_row(*(Text(cell(document[column])) for column in columns))
    Console().print(table)
