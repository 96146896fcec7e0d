"""Writing an export where it belongs: stdout, or a file that appears whole or not at all."""

import codecs
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from admin.cli.command import Fault


def write_text(chunks: Iterable[bytes], out: Path | None) -> int:
    """Writes UTF-8 as it comes; returns how many lines. Raises Fault for a bad FILE, and what `chunks`
    raise.
    """
    count = 0
    with _opened(out) as file:
        for text in _decoded(chunks):
            file.write(text)
            count += text.count("\n")
    return count


def write_array(chunks: Iterable[bytes], out: Path | None) -> int:
    """Writes JSON Lines as one JSON array; as `write_text`."""
    count = 0
    between = ""
    with _opened(out) as file:
        file.write("[\n")
        for text in _decoded(chunks):
            count += text.count("\n")
            file.write(between + text.removesuffix("\n").replace("\n", ",\n"))
            between = ",\n" if text.endswith("\n") else ""
        file.write("\n]\n" if count else "]\n")
    return count


def _decoded(chunks: Iterable[bytes]) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8")()
    for chunk in chunks:
        text = decoder.decode(chunk)
        if text:
            yield text


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
