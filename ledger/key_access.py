"""Whether a key's owner may still use it: a user's keys work only while their user has a part in the project.

A user has a part who is not disabled, and who owns or administers the tenant or is in the project. A service
account's keys end with it, so it always has. Nothing of it is kept with a key: it is looked at where a key is
found, so a key works again once its user is let in again, or once it is given to another owner. Whoever
changes what a user is calls `tell`, in the same transaction.
"""

from typing import TYPE_CHECKING, Final

from ledger import changes
from ledger.given import Statement

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

HAS_ACCESS: Final = (
    "({key}.user_id IS NULL OR EXISTS ("
    "SELECT 1 FROM user_account AS u"
    " JOIN membership AS m ON m.user_id = u.id AND m.tenant_id = {key}.tenant_id"
    " LEFT JOIN project_membership AS p ON p.user_id = u.id AND p.project_id = {key}.project_id"
    " WHERE u.id = {key}.user_id AND u.state = 'active'"
    " AND (m.role IN ('owner', 'admin') OR p.user_id IS NOT NULL)))"
)
"""SQL for both databases; `{key}` is what a query calls `api_key`, or has the columns that are read here."""

_KEYS: Final = Statement(
    "SELECT k.id FROM {given} JOIN api_key AS k ON k.user_id = given.user_id"
    " WHERE k.state <> 'revoked'"
    " AND (given.tenant_id IS NULL OR k.tenant_id = given.tenant_id)"
    " AND (given.project_id IS NULL OR k.project_id = given.project_id) ORDER BY k.id",
    {"user_id": "varchar", "tenant_id": "varchar", "project_id": "varchar"},
)


async def tell(
    session: "AsyncSession",
    user_id: str,
    now_us: int,
    *,
    tenant_id: str | None = None,
    project_id: str | None = None,
) -> None:
    """Let the workers look anew at the keys of a user: all, or those in a tenant or project."""
    await session.flush()
    await changes.lock(session)  # before they are read: who gives the user one more comes before, or after
    found = await _KEYS.read(await session.connection(), [(user_id, tenant_id, project_id)])
    await changes.append_each(session, "key.owner_changed", [key_id for (key_id,) in found], now_us)
