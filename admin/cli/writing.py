"""Writing an export where it belongs: stdout, or a file that appears whole or not at all."""

import csv
import json
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from admin.cli.command import Fault
from admin.exports.cells import Cell, csv_cell


async def write_lines(
    lines: AsyncIterator[dict[str, Cell]], columns: Sequence[str], out: Path | None, *, as_json: bool
) -> int:
    """Writes the lines as CSV with a header, or as a JSON array; returns how many. Raises Fault for a bad
    FILE.
    """
    count = 0
    with _opened(out) as file:
        table = csv.writer(file, lineterminator="\n")
        if as_json:
            file.write("[")
        else:
            table.writerow(columns)
        async for line in lines:
            if as_json:
                file.write(",\n" if count else "\n")
                json.dump(line, file, ensure_ascii=False)
            else:
                table.writerow([csv_cell(line[column]) for column in columns])
            count += 1
        if as_json:
            file.write("\n]\n")
    return count


@contextmanager
def _opened(out: Path | None) -> Iterator[TextIO]:
    if out is None:
        yield sys.stdout
        sys.stdout.flush()
        return
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{out.name}.", dir=out.parent)
    except OSError as fault:
        raise Fault(f"cannot write {out}: {fault.strerror}") from None
    draft = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
            yield file
        draft.replace(out)
    except OSError as fault:
        raise Fault(f"cannot write {out}: {fault.strerror}") from None
    finally:
        draft.unlink(missing_ok=True)
