"""`metergate journal`: what lies in the journals of this host. Reads only; needs no database."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from admin.cli.command import Fault, Request, common, now_us, print_json, print_table

if TYPE_CHECKING:
    from ledger.journal.survey import FolderSurvey
    from ledger.record import CallRecord

RECORDS_MAX = 1000
"""Of each folder; a million lines tell nobody anything."""

app = typer.Typer(help="Settled calls on their way to the ledger.", no_args_is_help=True)

Folder = Annotated[
    Path | None,
    typer.Option(
        "--folder",
        help="A journal folder, one worker's folder in it, or a copy of either; else the data folder's.",
        show_default=False,
    ),
]
WithRecords = Annotated[
    bool,
    typer.Option(
        "--records", help=f"Show the calls that wait ({RECORDS_MAX} of each folder) and those in flight."
    ),
]


@app.callback()
def group() -> None:
    """Keeps `inspect` a command of its own: typer would make the only one of a group the group itself."""


@app.command("inspect")
@common
def inspect_journal(request: Request, folder: Folder = None, records: WithRecords = False) -> None:
    """Show what waits in the journals, what is in flight, who owns them, and what is damaged. Changes
    nothing.
    """
    from ledger.journal.survey import journal_folders, owner_of, quarantine, root_of, survey

    path = folder or request.settings().data_dir
    root = root_of(path)
    folders = journal_folders(path)
    if folder is not None and not folders:
        raise Fault(f"{folder} is no journal folder, and none is in it")
    surveys = [survey(each, RECORDS_MAX if records else 0) for each in folders]
    is_posting, poster_pid = owner_of(root / "poster.lock")
    now = now_us()
    document: dict[str, Any] = {
        "journal": str(root),
        "poster": {"state": "alive" if is_posting else "none", "pid": poster_pid},
        "folders": [_folder(seen, now, with_records=records) for seen in surveys],
        "quarantine": [
            {"file": kept.name, "bytes": kept.file_bytes, "changed_at": _instant(kept.changed_us)}
            for kept in quarantine(root)
        ],
    }
    if request.as_json:
        print_json(document)
    else:
        _print(document)


def _print(document: dict[str, Any]) -> None:
    poster = document["poster"]
    posting = "no poster is at work" if poster["pid"] is None else f"poster: process {poster['pid']}"
    typer.echo(f"{document['journal']}: {posting}", err=True)
    if document["folders"]:
        print_table(document["folders"], COLUMNS)
    else:
        typer.echo("no journals yet", err=True)
    for folder in document["folders"]:
        for line in folder["found"]:
            typer.echo(f"{folder['folder']}: {line}", err=True)
    for kept in document["quarantine"]:
        typer.echo(f"quarantine: {kept['file']}, {kept['bytes']} bytes, {kept['changed_at']}", err=True)
    for kind in ("waiting_records", "in_flight_records"):
        shown = [
            {"folder": folder["folder"], "is": kind.removesuffix("_records"), **record}
            for folder in document["folders"]
            for record in folder.get(kind, [])
        ]
        if shown:
            typer.echo()
            print_table(shown, list(shown[0]))


COLUMNS = (
    "folder",
    "owner",
    "pid",
    "segments",
    "bytes",
    "posted",
    "waiting",
    "waiting_bytes",
    "oldest_seconds",
    "in_flight",
    "in_flight_tokens",
    "holder",
)


def _folder(seen: "FolderSurvey", now: int, *, with_records: bool) -> dict[str, Any]:
    document: dict[str, Any] = {
        "folder": seen.name,
        "owner": "alive" if seen.is_owned else "none",
        "pid": seen.pid,
        "segments": seen.segments,
        "bytes": seen.file_bytes,
        "posted": f"{seen.posted.segment}:{seen.posted.offset}",
        "end": f"{seen.end.segment}:{seen.end.offset}",
        "waiting": seen.waiting,
        "waiting_bytes": seen.waiting_bytes,
        "waiting_tokens": seen.waiting_tokens,
        "oldest_seconds": None if seen.oldest_us is None else max(0, now - seen.oldest_us) // 1_000_000,
        "in_flight": len(seen.in_flight),
        "in_flight_tokens": sum(record.usage.total_tokens for record in seen.in_flight),
        "holder": seen.holder_id,
        "found": seen.found,
    }
    if with_records:
        document["waiting_records"] = list(map(_record, seen.records))
        document["in_flight_records"] = list(map(_in_flight, seen.in_flight))
    return document


def _record(record: "CallRecord") -> dict[str, Any]:
    return dict(_facts(record)) | {"ending": record.ending.value, "usage_source": record.usage_source.value}


def _in_flight(record: "CallRecord") -> dict[str, Any]:
    """Without the end that it would have if its worker died now."""
    return dict(_facts(record))


def _facts(record: "CallRecord") -> Iterator[tuple[str, Any]]:
    yield "request_id", record.request_id
    yield "started_at", _instant(record.started_us)
    for name in ("tenant_id", "project_id", "api_key_id", "model", "backend", "endpoint"):
        yield name, getattr(record, name)
    yield "prompt_tokens", record.prompt_tokens
    yield "completion_tokens", record.completion_tokens


def _instant(at_us: int) -> str:
    from admin.times import format_instant

    return format_instant(at_us)
