"""The first start: the operator's admin key, and a first tenant, project and API key, in first-run.json.

Rules: nothing is made where the ledger has a tenant. The secrets are on disk before the ledger knows their
digests: first a draft, then the commit, then the draft gets its name. A crash anywhere between leaves
either nothing that counts, or a draft that the next start recognises by its key. Later starts only keep the
two URLs up to date.
"""

from pathlib import Path

from admin.first_run_file import FILE_NAME, FirstRun, draft_of, keep_urls, read, sync_folder, write
from ledger import admin_keys, keys, tenancy
from ledger.database import Database


async def ensure(
    database: Database, pepper: bytes, data_dir: Path, *, base_url: str, admin_url: str, now_us: int
) -> FirstRun | None:
    """Makes what a new ledger lacks. Returns it when it has never been shown; None on every later start."""
    path = data_dir / FILE_NAME
    draft = draft_of(path)
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
            _, admin_key = await admin_keys.create_admin_key(session, pepper, "Operator", now_us)
            made = FirstRun(api_key, admin_key, tenant.id, project.id, base_url, admin_url)
            write(draft, made)
        draft.replace(path)
        sync_folder(data_dir)
        return made
    interrupted = read(draft)
    if interrupted is not None:
        digest = keys.digest(pepper, interrupted.admin_key)
        async with database.read() as session:
            made = interrupted if await admin_keys.find_admin_key(session, digest, now_us) else None
        if made is not None:
            draft.replace(path)
    draft.unlink(missing_ok=True)
    keep_urls(path, base_url=base_url, admin_url=admin_url)
    return made
