"""What an actor sees: finding a tenant, project, key, user or limit for it.

Whose it is not gets NotFound, the very one that an id gets which names nothing: nobody learns that another
tenant's is there. The operator sees all.
"""

from typing import Annotated

from fastapi import Header
from sqlalchemy.ext.asyncio import AsyncSession

from ledger import limit_settings, memberships, tenancy, users
from ledger.actors import Actor
from ledger.errors import Denied, NotFound, Refused
from ledger.limits import Limit
from ledger.roles import Permission
from ledger.tables.people import User
from ledger.tables.tenancy import ApiKey, Project, Tenant

Organization = Annotated[
    str | None,
    Header(
        alias="OpenAI-Organization",
        description="The tenant, for the operator's keys: the only one, unless given. Others have their own.",
    ),
]


async def tenant_of(session: AsyncSession, actor: Actor, tenant_id: str) -> Tenant:
    """The tenant. Raises NotFound."""
    if actor.tenant_id not in (None, tenant_id):
        raise NotFound("tenant", tenant_id)
    return await tenancy.get_tenant(session, tenant_id)


async def project_of(session: AsyncSession, actor: Actor, project_id: str) -> Project:
    """The project. Raises NotFound."""
    project = await tenancy.get_project(session, project_id)
    if not actor.sees(project.tenant_id, project.id):
        raise NotFound("project", project_id)
    return project


async def key_of(session: AsyncSession, actor: Actor, key_id: str) -> ApiKey:
    """The API key. Raises NotFound."""
    key = await tenancy.get_api_key(session, key_id)
    if not actor.sees(key.tenant_id, key.project_id):
        raise NotFound("key", key_id)
    return key


async def user_of(session: AsyncSession, actor: Actor, user_id: str) -> User:
    """The user; for a tenant's actor, a member of it. Raises NotFound."""
    if actor.tenant_id is None:
        return await users.get_user(session, user_id)
    return (await memberships.get_member(session, actor.tenant_id, user_id))[1]


async def limit_of(session: AsyncSession, actor: Actor, limit_id: str) -> Limit:
    """The limit. Raises NotFound."""
    limit = await limit_settings.get_limit(session, limit_id)
    if not actor.sees(limit.tenant_id, limit.project_id):
        raise NotFound("limit", limit_id)
    return limit


async def organization_of(session: AsyncSession, actor: Actor, organization: str | None) -> str:
    """The tenant that a request under /v1/organization is about: the actor's own; for the operator, the one
    that the header names, or the only one. Raises NotFound, and Refused where it could be any of several.
    """
    if organization is not None:
        return (await tenant_of(session, actor, organization)).id
    if actor.tenant_id is not None:
        return actor.tenant_id
    tenants = await tenancy.list_tenants(session)
    if len(tenants) != 1:
        raise Refused(f"there are {len(tenants)} organizations: name one in the header OpenAI-Organization")
    return tenants[0].id


def hold_to_bounds(actor: Actor, permission: Permission, project_id: str | None) -> None:
    """For what is set on a tenant (None) or project that the actor sees. Raises Denied where that is what the
    actor is limited to: its own bounds are not its to move.
    """
    if actor.is_bounded_by(project_id):
        whose = "the tenant" if project_id is None else f"project {project_id}"
        raise Denied(permission, f"on {whose} itself")


async def project_in(
    session: AsyncSession, actor: Actor, project_id: str, organization: str | None
) -> Project:
    """The project of a request under /v1/organization; one of another organization than the header names is
    as good as none. Raises NotFound.
    """
    project = await project_of(session, actor, project_id)
    if organization is not None and project.tenant_id != organization:
        raise NotFound("project", project_id)
    return project


def hold_to_whole_tenant(actor: Actor, permission: Permission) -> None:
    """For what is a tenant's and no project's. Raises Denied for who is limited to a project."""
    if actor.project_id is not None:
        raise Denied(permission, "on the whole tenant")
