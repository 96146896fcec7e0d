"""Making the ledger ready for a start: the schema, the first keys, and which models have a price.

Heavy to import; `metergate up` runs it in a fork, and only where a first look does not settle it.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from admin import first_run
from ledger import prices, secret_check, secret_key, tenancy
from ledger.database import Database
from ledger.settings import LedgerSettings, pepper


async def prepare(
    settings: LedgerSettings, data_dir: Path, *, base_url: str | None, admin_url: str | None, now_us: int
) -> dict[str, Any]:
    """Migrates an embedded database, checks any other; makes first keys where both planes start and none
    are there.

    Returns, as JSON, `made` (a FirstRun not yet shown, or None) and `priced` (models). Raises LedgerError.
    """
    database = Database(settings.database_url)
    try:
        if database.is_sqlite:
            await database.upgrade()
        else:
            await database.check()
        async with database.read() as session:
            if await tenancy.list_tenants(session):
                secret_key.refuse_new(settings)
            await secret_check.check(await session.connection(), pepper(settings))
            unchecked = await secret_check.is_lacking(await session.connection())
        if unchecked:  # keys of before there was a check: the secret of now is taken for theirs
            async with database.write() as session:
                await secret_check.hold_to(await session.connection(), pepper(settings), now_us)
        made = None
        if base_url and admin_url:
            made = await first_run.ensure(
                database, pepper(settings), data_dir, base_url=base_url, admin_url=admin_url, now_us=now_us
            )
        async with database.read() as session:
            versions = await prices.list_prices(session)
    finally:
        await database.close()
    return {
        "made": None if made is None else asdict(made),
        "priced": sorted({version.model for version in versions if version.tenant_id is None}),
    }
