"""Lines of an export as text: CSV for spreadsheets, or a JSON object on each line. No files, no network."""

import csv
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from admin.exports.cells import Cell, csv_cell
from admin.exports.choices import Format

Line = Mapping[str, Cell]

MEDIA_TYPES: Final = {
    Format.CSV: "text/csv; charset=utf-8; header=present",
    Format.JSONL: "application/x-ndjson",
}


def head(format_: Format, columns: Sequence[str]) -> str:
    """What comes before the lines."""
    return ",".join(columns) + "\n" if format_ is Format.CSV else ""


def text_of(format_: Format, columns: Sequence[str], lines: Iterable[Line]) -> str:
    """Some lines, each with its end."""
    return _WRITERS[format_](columns, lines)


def _csv(columns: Sequence[str], lines: Iterable[Line]) -> str:
    file = io.StringIO()
    table = csv.writer(file, lineterminator="\n")
    table.writerows([csv_cell(line[column]) for column in columns] for line in lines)
    return file.getvalue()


def _jsonl(_: Sequence[str], lines: Iterable[Line]) -> str:
    return "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in lines)


_WRITERS: Final[dict[Format, Callable[[Sequence[str], Iterable[Line]], str]]] = {
    Format.CSV: _csv,
    Format.JSONL: _jsonl,
}
