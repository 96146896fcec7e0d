"""Two tenants, a key for every role, and how each route of the control plane is asked: for test_permissions.

A new route needs nothing here if the ids in its path have names that NOBODYS has; one with a body or a query
needs a line in WAYS.
"""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from admin.api.organization_usage import EMPTY
from ledger import (
    admin_keys,
    invites,
    limit_settings,
    memberships,
    model_rates,
    project_memberships,
    service_accounts,
    sessions,
    spend_alerts,
    spend_limits,
    tenancy,
    users,
)
from ledger.actors import PROGRAM
from ledger.alert_channel import AlertChannel
from ledger.database import Database
from ledger.limit_settings import LimitScope
from ledger.limits import LimitKind, LimitWindow
from ledger.project_roles import ProjectGrants, ProjectRole
from ledger.rate_limit_ids import id_of
from ledger.roles import Role
from ledger.sessions import Origin
from ledger.spend_alerts import AlertScope
from ledger.tables.people import User
from tests.people import TERMS

Ids = dict[str, str]

NOBODYS: Ids = {
    "tenant_id": "org-000000000000000000000000",
    "project_id": "proj_000000000000000000000000",
    "key_id": "key_000000000000000000000000",
    "limit_id": "limit_000000000000000000000000",
    "admin_key_id": "adminkey_000000000000000000000000",
    "user_id": "user-000000000000000000000000",
    "session_id": "session_000000000000000000000000",
    "newcomer_email": "nobody@example.com",
    "invite_id": "invite-000000000000000000000000",
    "api_key_id": "key_000000000000000000000000",
    "service_account_id": "svc_acct_000000000000000000000000",
    "rate_limit_id": "rl_none",
    "alert_id": "alert_000000000000000000000000",
    "project_alert_id": "alert_000000000000000000000000",
}
"""Ids that name nothing, by the names that paths have for them."""

SHARED: Ids = {"role_id": "role-reader"}
"""Ids of what is the same for everybody."""


@dataclass(frozen=True)
class Way:
    """How to ask a route. Strings are templates: "{project_id}" becomes the id of whose project it is."""

    body: Any = None
    query: dict[str, str] = field(default_factory=dict)
    status: int = 200
    quiet: bool = False
    """It changes nothing here, so there is nothing in the audit log."""
    is_tenants: bool = False
    """It is about the whole tenant: who is limited to a project is refused, whatever the permission says."""


PLAIN = Way()
SPEND_LIMIT = {"threshold_amount": 700, "currency": "USD", "interval": "month"}
SPEND_ALERT = {
    **SPEND_LIMIT,
    "notification_channel": {"type": "email", "recipients": [], "webhook_url": "https://a.example/"},
}
IN_PROJECT = "/v1/organization/projects/{project_id}"
WAYS: dict[tuple[str, str], Way] = {
    ("POST", "/admin/v1/tenants"): Way({"name": "T"}, status=201),
    ("PATCH", "/admin/v1/tenants/{tenant_id}"): Way({"outage_policy": "fail_open"}),
    ("PATCH", "/admin/v1/tenants/{tenant_id}/settings"): Way({"name": "Renamed"}),
    ("POST", "/admin/v1/tenants/{tenant_id}/unblock"): Way(quiet=True),
    ("POST", "/admin/v1/tenants/{tenant_id}/projects"): Way({"name": "P"}, status=201),
    ("GET", "/admin/v1/projects"): Way(query={"tenant_id": "{tenant_id}"}),
    ("GET", "/admin/v1/keys"): Way(query={"project_id": "{project_id}"}),
    ("PATCH", "/admin/v1/projects/{project_id}"): Way(
        {"model_permissions": {"mode": "allow_list", "model_ids": []}}
    ),
    ("POST", "/admin/v1/projects/{project_id}/unblock"): Way(quiet=True),
    ("POST", "/admin/v1/projects/{project_id}/keys"): Way({"name": "K"}, status=201),
    ("PATCH", "/admin/v1/keys/{key_id}"): Way({"scopes": ["models"]}),
    ("POST", "/admin/v1/keys/{key_id}/unblock"): Way(quiet=True),
    ("GET", "/admin/v1/limits"): Way(query={"project_id": "{project_id}"}),
    ("POST", "/admin/v1/limits"): Way({"api_key_id": "{key_id}", "kind": "tokens", "max": 5}),
    ("POST", "/admin/v1/prices"): Way({"model": "m", "input": "1", "output": "1"}, status=201),
    ("GET", "/admin/v1/usage"): Way(query={"project_id": "{project_id}"}),
    ("GET", "/admin/v1/usage/export"): Way(query={"project_id": "{project_id}"}),
    ("POST", "/admin/v1/admin_keys"): Way({"role": "reader", "project_id": "{project_id}"}, status=201),
    ("POST", "/v1/organization/projects"): Way({"name": "P"}),
    ("POST", "/v1/organization/users/{user_id}"): Way({"role": "billing"}),
    ("POST", "/v1/organization/users/{user_id}/roles"): Way({"role_id": "role-billing"}),
    ("POST", "/v1/organization/invites"): Way({"email": "somebody@example.com", "role": "reader"}),
    ("POST", "/v1/organization/projects/{project_id}/users"): Way(
        {"email": "{newcomer_email}", "role": "member"}
    ),
    ("POST", "/v1/organization/projects/{project_id}/users/{user_id}"): Way({"role": "owner"}),
    ("POST", "/admin/v1/users"): Way(
        {"email": "new@example.com", "name": "N", "tenant_id": "{tenant_id}"}, status=201
    ),
    ("POST", "/admin/v1/users/{user_id}/enable"): Way(quiet=True),
    ("POST", "/admin/v1/users/{user_id}/password"): Way({"password": "xkcd-oak-river-9"}),
    ("POST", "/admin/v1/users/{user_id}/password-resets"): Way(status=201),
    ("GET", "/v1/organization/costs"): Way(query={"start_time": "1793491200"}),
    ("POST", IN_PROJECT): Way({"name": "Q"}),
    ("POST", "/v1/organization/admin_api_keys"): Way({"name": "K"}),
    ("POST", f"{IN_PROJECT}/service_accounts"): Way({"name": "A"}),
    ("POST", f"{IN_PROJECT}/service_accounts/{{service_account_id}}"): Way({"name": "B"}),
    ("POST", f"{IN_PROJECT}/service_accounts/{{service_account_id}}/api_keys"): Way({}),
    ("POST", f"{IN_PROJECT}/rate_limits/{{rate_limit_id}}"): Way({"max_tokens_per_1_minute": 7}),
    ("POST", f"{IN_PROJECT}/model_permissions"): Way({"mode": "allow_list", "model_ids": ["m"]}),
    ("DELETE", f"{IN_PROJECT}/model_permissions"): Way(quiet=True),
    ("POST", f"{IN_PROJECT}/spend_limit"): Way(SPEND_LIMIT),
    ("POST", f"{IN_PROJECT}/spend_alerts"): Way(SPEND_ALERT),
    ("POST", f"{IN_PROJECT}/spend_alerts/{{project_alert_id}}"): Way(SPEND_ALERT),
    ("GET", "/v1/organization/spend_limit"): Way(is_tenants=True),
    ("POST", "/v1/organization/spend_limit"): Way(SPEND_LIMIT),
    ("GET", "/v1/organization/spend_alerts"): Way(is_tenants=True),
    ("POST", "/v1/organization/spend_alerts"): Way(SPEND_ALERT),
    ("GET", "/v1/organization/spend_alerts/{alert_id}"): Way(is_tenants=True),
    ("POST", "/v1/organization/spend_alerts/{alert_id}"): Way(SPEND_ALERT),
} | {
    ("GET", f"/v1/organization/usage/{product}"): Way(query={"start_time": "1793491200"})
    for product in ("completions", "embeddings", *EMPTY)
}


def filled(template: Any, ids: Ids) -> Any:
    """The template with these ids."""
    if isinstance(template, str):
        return template.format_map(SHARED | ids)
    if isinstance(template, dict):
        return {name: filled(value, ids) for name, value in template.items()}
    if isinstance(template, list):
        return [filled(value, ids) for value in template]
    return template


@dataclass(frozen=True)
class Asker:
    """An admin key."""

    id: str
    secret: str
    role: Role
    is_limited: bool

    def __str__(self) -> str:
        """As failures show it."""
        return f"{self.role}, limited to a project" if self.is_limited else str(self.role)


@dataclass(frozen=True)
class World:
    """Whose things there are: a tenant's, in a project and in a project beside it, and another tenant's."""

    askers: list[Asker]
    own: Ids
    beside: Ids
    others: Ids


async def make_world(database: Database, pepper: bytes) -> World:
    """Two tenants with all that there can be, and keys of the first for every role."""
    async with database.write() as session:
        tenants = [await tenancy.create_tenant(session, name, 1) for name in ("Ours", "Theirs")]
        await session.flush()
        own, beside, others = [
            await _things(session, pepper, tenants[index].id, f"Project {number}")
            for number, index in enumerate((0, 0, 1))
        ]
        askers = []
        for role, project_id in [
            (Role.OPERATOR, None),
            *((role, None) for role in Role if role is not Role.OPERATOR),
            *((role, own["project_id"]) for role in Role if role is not Role.OPERATOR),
        ]:
            key, secret = await admin_keys.create_admin_key(
                session,
                pepper,
                "Asker",
                1,
                role=role,
                tenant_id=None if role is Role.OPERATOR else own["tenant_id"],
                project_id=project_id,
            )
            askers.append(Asker(key.id, secret, role, project_id is not None))
    return World(askers, own, beside, others)


async def _things(session: AsyncSession, pepper: bytes, tenant_id: str, name: str) -> Ids:
    project = await tenancy.create_project(session, tenant_id, name, 1)
    await session.flush()
    key, _ = await tenancy.create_api_key(session, pepper, project.id, "Key", 1)
    await session.flush()
    limit = await limit_settings.set_limit(
        session, LimitScope(api_key_id=key.id), LimitKind.REQUESTS, LimitWindow.DAY, 5, 1
    )
    admin_key, _ = await admin_keys.create_admin_key(
        session, pepper, "Key", 1, role=Role.READER, tenant_id=tenant_id, project_id=project.id
    )
    user, newcomer = [
        await _member(session, tenant_id, f"{who}.{project.id}@example.com") for who in ("user", "newcomer")
    ]
    await project_memberships.add(session, project, user.id, ProjectRole.MEMBER, 1, by=PROGRAM)
    begun, _ = await sessions.begin(session, pepper, user, Origin(), TERMS, time.time_ns() // 1000)
    invite, _ = await invites.create(
        session,
        pepper,
        tenant_id,
        f"invited.{project.id}@example.com",
        Role.READER,
        ProjectGrants(()),
        1,
        by=PROGRAM,
    )
    account = await service_accounts.create(session, pepper, project.id, "Account", 1, with_key=True)
    model = name.lower().replace(" ", "-")
    await model_rates.change(session, project.id, model, {"tokens_per_minute": 5}, 1)
    for scope in (LimitScope(project_id=project.id), LimitScope(tenant_id=tenant_id, by_tenant=True)):
        await spend_limits.put(session, scope, 500, "USD", 1)
    channel = AlertChannel((), webhook_url="https://a.example/")
    alerts = [
        await spend_alerts.create(session, AlertScope(tenant_id, project_id), 1, "USD", channel, 1)
        for project_id in (None, project.id)
    ]
    return {
        "user_id": user.id,
        "session_id": begun.id,
        "newcomer_email": newcomer.email,
        "invite_id": invite.id,
        "tenant_id": tenant_id,
        "project_id": project.id,
        "key_id": key.id,
        "limit_id": limit.id,
        "admin_key_id": admin_key.id,
        "api_key_id": key.id,
        "service_account_id": account.account.id,
        "rate_limit_id": id_of(model),
        "alert_id": alerts[0].id,
        "project_alert_id": alerts[1].id,
    }


async def _member(session: AsyncSession, tenant_id: str, email: str) -> User:
    user = await users.create_user(session, email, "Somebody", 1, by=PROGRAM)
    await memberships.join(session, user, tenant_id, Role.READER, 1, by=PROGRAM)
    return user


class Undone(Database):
    """A ledger in which nothing stays: each request finds the world as it was. `actors`: whom the audit log
    had for what the last transaction changed.
    """

    def __init__(self, base: Database) -> None:
        """Another way into the same ledger; one of both writes at a time."""
        super().__init__(base.url.render_as_string(hide_password=False))
        self._writer_turn = base._writer_turn
        self.actors: list[str] = []

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncSession]:
        """A transaction that is rolled back at its end."""
        newest = text("SELECT coalesce(max(position), 0) FROM audit_event")
        added = text("SELECT actor_id FROM audit_event WHERE position > :position ORDER BY position")
        async with self._writer_turn, self._session(self._writing) as session:
            position = (await session.execute(newest)).scalar_one()
            yield session
            self.actors += (await session.execute(added, {"position": position})).scalars()
