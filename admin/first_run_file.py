"""first-run.json: what it holds, reading it, and writing it whole. Standard library only."""

import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

FILE_NAME = "first-run.json"


@dataclass(frozen=True, slots=True)
class FirstRun:
    """What first-run.json holds, in its order. `base_url` is what an OpenAI client takes, with /v1."""

    api_key: str
    admin_key: str
    tenant_id: str
    project_id: str
    base_url: str
    admin_url: str


def draft_of(path: Path) -> Path:
    """Where the file is written before the ledger knows its keys."""
    return path.with_name(f".{path.name}.draft")


def read(path: Path) -> FirstRun | None:
    """The file's content; None where there is none, or somebody has made something else of it."""
    try:
        content = json.loads(path.read_bytes())
        return FirstRun(**{field.name: str(content[field.name]) for field in fields(FirstRun)})
    except (OSError, ValueError, KeyError, TypeError):
        return None


def keep_urls(path: Path, *, base_url: str, admin_url: str) -> None:
    """Brings the URLs of an existing file up to date: the ports may have been chosen anew."""
    before = read(path)
    if before is None:
        return
    now = replace(before, base_url=base_url, admin_url=admin_url)
    if now != before:
        draft = path.with_name(f".{path.name}.urls")
        write(draft, now)
        draft.replace(path)


def write(path: Path, content: FirstRun) -> None:
    """Writes a whole file that only its owner can read, and syncs it to disk."""
    with suppress(FileNotFoundError):
        path.unlink()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(asdict(content), file, indent=2)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Makes a rename in the folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
