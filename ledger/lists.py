"""Lists of a tenant's projects and keys, in pages: what is there, without what was deleted.

A deleted one is no part of a list, and still a place for its next page to begin after: see
ledger/object_pages.py.
"""

from collections.abc import Sequence

from sqlalchemy import ColumnElement, literal_column, not_
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from ledger.key_access import HAS_ACCESS
from ledger.object_pages import ObjectPage, PageWish, read_page
from ledger.states import KeyState, ProjectState
from ledger.tables.tenancy import AdminKey, ApiKey, Project


async def projects(
    session: AsyncSession,
    tenant_id: str,
    wish: PageWish,
    *,
    only_id: str | None = None,
    archived: bool = False,
) -> ObjectPage[Project]:
    """A tenant's projects, with the archived ones or without; one alone, where only that may be seen."""
    scope = [col(Project.tenant_id) == tenant_id]
    if only_id is not None:
        scope.append(col(Project.id) == only_id)
    shown = [] if archived else [col(Project.state) != ProjectState.ARCHIVED]
    return await read_page(session, Project, wish, scope, shown)


async def api_keys(
    session: AsyncSession, project_id: str, wish: PageWish, *, owner_has_access: bool | None = None
) -> ObjectPage[ApiKey]:
    """A project's keys. `owner_has_access`: only those whose owner has a part in the project, or only those
    whose owner has none (ledger/key_access.py).
    """
    shown: Sequence[ColumnElement[bool]] = [col(ApiKey.state) != KeyState.REVOKED]
    if owner_has_access is not None:
        has_access: ColumnElement[bool] = literal_column(HAS_ACCESS.format(key="api_key"))
        shown = [*shown, has_access if owner_has_access else not_(has_access)]
    return await read_page(session, ApiKey, wish, [col(ApiKey.project_id) == project_id], shown)


async def admin_keys(
    session: AsyncSession, tenant_id: str, wish: PageWish, *, only_project_id: str | None = None
) -> ObjectPage[AdminKey]:
    """A tenant's keys of the control plane; those of one project, where only they may be seen."""
    scope = [col(AdminKey.tenant_id) == tenant_id]
    if only_project_id is not None:
        scope.append(col(AdminKey.project_id) == only_project_id)
    return await read_page(session, AdminKey, wish, scope, [col(AdminKey.state) != KeyState.REVOKED])
