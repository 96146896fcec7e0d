"""Whether this start has the secret that the keys of the ledger were made with.

A row of the ledger holds a digest of a constant under the pepper, never the pepper or the secret. It is
written with the first key, and never changed but by `adopt`. With another secret every key is an unknown one:
whoever checks keys or makes them compares first, and does not start.
"""

import hmac

from sqlalchemy import and_, delete, exists, insert, or_, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession

from ledger.errors import SecretChanged
from ledger.secret_key import check_digest
from ledger.tables import Table

_CHECK = Table.metadata.tables["secret_check"]


async def check(session: AsyncSession, pepper: bytes) -> None:
    """Raises SecretChanged unless the pepper is the one of the first key, or there is no key yet."""
    known = (await session.execute(select(_CHECK.c.digest))).scalar_one_or_none()
    if known is not None and not hmac.compare_digest(known, check_digest(pepper)):
        raise SecretChanged


async def is_lacking(session: AsyncSession) -> bool:
    """Whether there are keys and nothing to compare with: they were made before there was this check."""
    has_key = or_(*(exists(select(Table.metadata.tables[name].c.id)) for name in ("api_key", "admin_key")))
    query = select(and_(~exists(select(_CHECK.c.id)), has_key))
    return bool((await session.execute(query)).scalar_one())


async def hold_to(session: AsyncSession, pepper: bytes, now_us: int) -> None:
    """As check; where nothing is there to compare with, this pepper is the one from now on."""
    dialect = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
    row = {"id": 1, "digest": check_digest(pepper), "created_us": now_us}
    await session.execute(dialect.insert(_CHECK).values(**row).on_conflict_do_nothing())
    await check(session, pepper)


async def adopt(session: AsyncSession, pepper: bytes, now_us: int) -> None:
    """Take this pepper from now on: every key made with another one is given up."""
    await session.execute(delete(_CHECK))
    await session.execute(insert(_CHECK).values(id=1, digest=check_digest(pepper), created_us=now_us))
