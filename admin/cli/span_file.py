"""`metergate reconcile --spans FILE`: the ledger's rows against an engine's spans, call by call."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from admin.cli.command import Fault, Request, print_json

if TYPE_CHECKING:
    from admin.spans import Row, SpanComparison, Spans
    from ledger.database import Database

LOOKBACK_US = 3_600_000_000
"""A call waits for at most so long before its request begins at the engine."""
SHOWN_MAX = 100


def compare_file(request: Request, path: Path, *, no_wait: bool) -> bool:
    """Compares and prints; whether both say the same. Raises Fault for a file that cannot be read."""
    from admin.cli.reach import with_database
    from admin.spans import compare, document
    from ledger.settled import wait_posted

    settings, spans = request.settings(), read(path)

    async def look(database: "Database") -> "SpanComparison":
        if not no_wait:
            await wait_posted(settings.data_dir, database, currency=settings.currency)
        return compare(spans, await _rows(database, spans))

    found = with_database(settings, look)
    shown = document(found, SHOWN_MAX)
    if request.as_json:
        print_json(shown)
        return found.is_well
    for name in ("agreeing", "differing", "missing_in_ledger", "missing_in_spans"):
        typer.echo(f"{name.replace('_', ' ') + ':':<18} {shown[name]}")
    foreign = shown["foreign"]
    typer.echo(
        f"{'not through us:':<18} {foreign['requests']} ({foreign['prompt_tokens']} prompt and "
        f"{foreign['generation_tokens']} generated tokens)"
    )
    for name in ("differing", "missing_in_ledger", "missing_in_spans"):
        for each in shown["calls"][name]:
            typer.echo(f"{name.replace('_', ' ')}: {_line(each)}", err=True)
    return found.is_well


def read(path: Path) -> "Spans":
    """The spans of a file. Raises Fault."""
    from admin.spans import Spans, SpansUnreadable

    spans = Spans()
    number = 0
    try:
        with path.open("rb") as file:
            for line in file:
                number += 1
                if line.strip():
                    spans.add(line)
    except OSError as error:
        raise Fault(f"cannot read {path}: {error.strerror}") from None
    except SpansUnreadable:
        raise Fault(f"line {number} of {path} is no export of traces in JSON (OTLP)") from None
    if not spans.calls and not spans.foreign_requests:
        raise Fault(f"{path} holds no span of a request (none has gen_ai.request.id)")
    return spans


async def _rows(database: "Database", spans: "Spans") -> "list[Row]":
    from admin.spans import Row
    from ledger.reconciliation.arithmetic import Tokens
    from ledger.reports import UsageFilter, usage_rows

    wanted = UsageFilter(from_us=max(0, spans.from_us - LOOKBACK_US), until_us=spans.until_us)
    async with database.read() as session:
        return [
            Row(
                row.request_id,
                row.ended_us,
                row.usage_source,
                Tokens(row.prompt_tokens * row.choices_per_prompt, row.completion_tokens),
            )
            async for row in usage_rows(session, wanted)
        ]


def _line(each: object) -> str:
    if not isinstance(each, dict):
        return str(each)
    said = (
        f"{who} {tokens['prompt_tokens']} + {tokens['generation_tokens']}"
        for who, tokens in each.items()
        if who != "request_id"
    )
    return f"{each['request_id']} ({', '.join(said)})"
