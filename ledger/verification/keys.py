"""Keys and their secrets: each key has one without an end, which its row names, and another one at most."""

from typing import Final

from sqlalchemy import and_, case, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from ledger.tables import Table
from ledger.verification.findings import Check, Findings

_KEYS: Final = Table.metadata.tables["api_key"]
_SECRETS: Final = Table.metadata.tables["api_key_secret"]


async def check_keys(session: AsyncSession, findings: Findings) -> None:
    """Every key, as it is now. Raises nothing: what is wrong is in the findings."""
    result = findings[Check.KEYS]
    result.looked_at += (await session.execute(select(func.count()).select_from(_KEYS))).scalar_one()
    has_no_end = _SECRETS.c.expires_us.is_(None)
    is_named = and_(has_no_end, _SECRETS.c.digest == _KEYS.c.digest)
    all_of, endless, named = (
        func.count(_SECRETS.c.id),
        func.count(case((has_no_end, 1))),
        func.count(case((is_named, 1))),
    )
    query = (
        select(_KEYS.c.id, all_of, endless, named)
        .select_from(_KEYS.outerjoin(_SECRETS, _SECRETS.c.api_key_id == _KEYS.c.id))
        .group_by(_KEYS.c.id)
        .having(or_(all_of > 2, endless != 1, named != 1))
        .order_by(_KEYS.c.id)
    )
    for key_id, secrets, without_end, named_by_key in await session.execute(query):
        what = f"it has {secrets} secrets, {without_end} without an end"
        result.add(key_id, what if named_by_key else f"{what}, and none is the one that its row names")
