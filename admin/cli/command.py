"""What every command shares: the options that say which ledger, the way to it, and how results are shown.

`common` gives a function the options --data-dir, --database-url and --json, as one argument, a Request.
"""

import functools
import inspect
import json
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from ledger.actors import Actor
    from ledger.settings import LedgerSettings

T = TypeVar("T")
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
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


class Fault(Exception):
    """The command cannot do what was asked; the message is for the operator, one line or a few."""


@dataclass(frozen=True, slots=True)
class Request:
    """The options that every command takes, and what follows from them."""

    data_dir: Path | None
    database_url: str | None
    as_json: bool

    def settings(self) -> "LedgerSettings":
        """The ledger's settings. Raises SettingsRefused."""
        from ledger.settings import LedgerSettings, load

        return load(LedgerSettings, data_dir=self.data_dir, database_url=self.database_url)

    def read(self, work: "Callable[[AsyncSession], Awaitable[T]]") -> T:
        """Runs `work` on a snapshot of the ledger. Raises LedgerError."""
        from admin.cli.reach import read

        return read(self.settings(), work)

    def write(self, work: "Callable[[AsyncSession, LedgerSettings, int], Awaitable[T]]") -> T:
        """Runs `work` with the settings and the time, in one transaction. Raises LedgerError."""
        from admin.cli.reach import write

        return write(self.settings(), work)

    @property
    def actor(self) -> "Actor":
        """Who changes something with this command."""
        from admin.cli.acting import command_line

        return command_line()

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
    """A name, given as an argument or with --name, as keys are named. Status 2 unless it is one of both."""
    if (argument is None) == (option is None):
        raise typer.BadParameter("give a name", param_hint="NAME")
    return argument or option or ""


def common(function: Callable[..., None]) -> Callable[..., None]:
    """Gives a command the common options: its first parameter, `request`, is made of them."""
    signature = inspect.signature(function)
    extra = {"data_dir": DataDir, "database_url": DatabaseUrl, "as_json": AsJson}
    defaults: dict[str, Any] = {"data_dir": None, "database_url": None, "as_json": False}
    own = list(signature.parameters.values())[1:]

    @functools.wraps(function)
    def command(*, data_dir: Path | None, database_url: str | None, as_json: bool, **arguments: Any) -> None:
        function(Request(data_dir, database_url, as_json), **arguments)

    parameters = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own]
    parameters += [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=defaults[name], annotation=annotation)
        for name, annotation in extra.items()
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
        table.add_column(column.replace("_", " "), overflow="fold")
    for document in documents:
        table.add_row(*(Text(cell(document[column])) for column in columns))
    Console().print(table)
