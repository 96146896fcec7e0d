"""The first start: the operator's admin key, and a first tenant, project and API key, in first-run.json.

Rules: nothing is made where the ledger has a tenant. The secrets are on disk before the ledger knows their digests:
first a draft, then the commit, then the draft gets its name. A crash anywhere between leaves either nothing that
counts, or a draft that the next start recognises by its key. Later starts only keep the two URLs up to date.
"""

import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from ledger import keys, tenancy
from ledger.database import Database

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


async def ensure(
    database: Database, pepper: bytes, data_dir: Path, *, base_url: str, admin_url: str, now_us: int
) -> FirstRun | None:
    """Makes what a new ledger lacks. Returns it when it has never been shown; None on every later start."""
    path, draft = data_dir / FILE_NAME, data_dir / f".{FILE_NAME}.draft"
    async with database.read() as session:
        new = not await tenancy.list_tenants(session)
    made: FirstRun | None = None
    if new:
        async with database.write() as session:
            tenant = await tenancy.create_tenant(session, "First tenant", now_us)
            await session.flush()
            project = await tenancy.create_project(session, tenant.id, "First project", now_us)
            await session.flush()
            _, api_key = await tenancy.create_api_key(session, pepper, project.id, "First key", now_us)
            _, admin_key = await tenancy.create_admin_key(session, pepper, "Operator", now_us)
            made = FirstRun(api_key, admin_key, tenant.id, project.id, base_url, admin_url)
            _write(draft, made)
        draft.replace(path)
        _sync_folder(data_dir)
        return made
    interrupted = read(draft)
    if interrupted is not None:
        digest = keys.digest(pepper, interrupted.admin_key)
        async with database.read() as session:
            made = interrupted if await tenancy.find_admin_key(session, digest, now_us) else None
        if made is not None:
            draft.replace(path)
    draft.unlink(missing_ok=True)
    keep_urls(path, base_url=base_url, admin_url=admin_url)
    return made


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
        _write(draft, now)
        draft.replace(path)


def _write(path: Path, content: FirstRun) -> None:
    """Writes a whole file that only its owner can read, and syncs it to disk."""
    with suppress(FileNotFoundError):
        path.unlink()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(asdict(content), file, indent=2)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
