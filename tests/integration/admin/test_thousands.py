"""Every list of OpenAI's Administration API that can be long, with a thousand objects in it, walked to its
end by the official SDK: by itself, from page to page, and page by page with `after`, the newest first where a
list can be had so.

Three are made at each instant: a page's edge cuts through them.
"""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import openai
import pytest
from sqlalchemy import select

from admin.config import AdminSettings
from ledger import tenancy
from ledger.actors import ActorKind
from ledger.alert_channel import AlertChannel
from ledger.limits import LimitKind, LimitWindow
from ledger.project_roles import ProjectGrants, ProjectRole
from ledger.rate_limit_ids import id_of
from ledger.roles import Role
from ledger.settings import pepper
from ledger.states import KeyState, ProjectState, ServiceAccountRole
from ledger.tables.alerts import SpendAlert
from ledger.tables.audit import AuditEvent
from ledger.tables.base import Table
from ledger.tables.limits import UsageLimit
from ledger.tables.people import Invite, Membership, ProjectMembership, User
from ledger.tables.service_accounts import ServiceAccount
from ledger.tables.tenancy import AdminKey, ApiKey, Project
from tests.integration.admin.planes import ServedPlane, served_plane
from tests.rows import put

MANY = 1000
LATER_US = 2 * 10**15
"""Behind all that the test has made before."""


@pytest.fixture
async def plane(database_url: str, tmp_path: Path) -> AsyncIterator[ServedPlane]:
    settings = AdminSettings(database_url=database_url, data_dir=tmp_path)
    async with served_plane(settings) as served:
        yield served


@dataclass(frozen=True)
class Long:
    """A list, and what is in it beside the thousand."""

    pages: Callable[..., Any]
    ids: list[str]
    has_order: bool = False
    is_newest_first: bool = False


class Fill:
    """Rows of a tenant with a project, and the ids that each list of them must have, the oldest first."""

    def __init__(self, tenant_id: str, project_id: str, account_id: str) -> None:
        self._in_tenant = {"tenant_id": tenant_id}
        self._in_project = {"tenant_id": tenant_id, "project_id": project_id}
        self._account_id = account_id
        self.rows: list[Table] = []

    def fill(self, prefix: str, make: Callable[[str, int, int], Table]) -> list[str]:
        """A thousand, by what makes one of an id, a number and an instant."""
        ids = [f"{prefix}{number:024d}" for number in range(MANY)]
        self.rows += [make(one, number, LATER_US + number // 3) for number, one in enumerate(ids)]
        return ids

    def projects(self) -> list[str]:
        return self.fill("proj_", lambda one, _, at: Project(
            id=one, name="P", state=ProjectState.ACTIVE, created_us=at, **self._in_tenant,
        ))  # fmt: skip

    def admin_keys(self) -> list[str]:
        return self.fill("adminkey_", lambda one, number, at: AdminKey(
            id=one, name="K", role=Role.OWNER, digest=b"%d" % number, redacted="", state=KeyState.ACTIVE,
            created_us=at, **self._in_tenant,
        ))  # fmt: skip

    def api_keys(self) -> list[str]:
        return self.fill("key_", lambda one, number, at: ApiKey(
            id=one, name="K", digest=b"%d" % number, redacted="", state=KeyState.ACTIVE, created_us=at,
            service_account_id=self._account_id, **self._in_project,
        ))  # fmt: skip

    def service_accounts(self) -> list[str]:
        return self.fill("svc_acct_", lambda one, _, at: ServiceAccount(
            id=one, name="A", role=ServiceAccountRole.NONE, created_us=at, **self._in_project,
        ))  # fmt: skip

    def alerts(self, *, in_project: bool) -> list[str]:
        scope = self._in_project if in_project else self._in_tenant
        channel = AlertChannel((), webhook_url="https://a.example/")
        return self.fill("alert_1" if in_project else "alert_2", lambda one, _, at: SpendAlert(
            id=one, threshold_picos=10**12, currency="USD", channel=channel, created_us=at, changed_us=at,
            **scope,
        ))  # fmt: skip

    def people(self) -> list[str]:
        ids = self.fill("user-", lambda one, number, _: User(
            id=one, email=f"u{number}@example.com", name="U", state="active", is_operator=False, created_us=1
        ))  # fmt: skip
        at = [LATER_US + number // 3 for number in range(MANY)]
        told = list(zip(ids, at, strict=True))
        self.rows += [
            Membership(user_id=one, role=Role.READER, added_us=us, **self._in_tenant) for one, us in told
        ]
        project_id, role = self._in_project["project_id"], ProjectRole.MEMBER
        self.rows += [
            ProjectMembership(user_id=one, project_id=project_id, role=role, added_us=us) for one, us in told
        ]
        return ids

    def invites(self) -> list[str]:
        return self.fill("invite-", lambda one, number, at: Invite(
            id=one, email=f"i{number}@example.com", role=Role.READER, projects=ProjectGrants(()),
            digest=number.to_bytes(32, "big"), created_us=at, expires_us=at + 1, **self._in_tenant,
        ))  # fmt: skip

    def rate_limits(self) -> list[str]:
        models = [f"m{number:04d}" for number in range(MANY)]
        self.rows += [
            UsageLimit(
                id=f"limit_{model}", model=model, kind=LimitKind.TOKENS, window=LimitWindow.MINUTE,
                max_value=60, created_us=1, changed_us=1, **self._in_project,
            ) for model in models
        ]  # fmt: skip
        return [id_of(model) for model in models]

    def audit_logs(self, newest: int) -> list[str]:
        positions = count(newest + 1)
        return self.fill("audit_log-", lambda one, _, at: AuditEvent(
            id=one, position=next(positions), at_us=at, event="project.created", subject_id="proj_x",
            actor_kind=ActorKind.PROGRAM, actor_id="a", actor_name="a", actor_role=Role.OPERATOR, hash=b"",
            **self._in_tenant,
        ))  # fmt: skip


async def fill(plane: ServedPlane, admin: Any) -> dict[str, Long]:
    """A thousand of everything, and the lists of them."""
    async with plane.database.write() as session:
        project = await tenancy.create_project(session, plane.tenant_id, "P", 1)
        key, _ = await tenancy.create_api_key(session, pepper(plane.settings), project.id, "K", 1)
        await session.flush()
        account = key.service_account_id
        assert account is not None
        keys = select(AdminKey.id).where(AdminKey.tenant_id == plane.tenant_id)  # type: ignore[arg-type, call-overload]
        own_keys = list((await session.execute(keys)).scalars())
        logged = (
            select(AuditEvent.id, AuditEvent.position)  # type: ignore[call-overload]
            .where(AuditEvent.tenant_id == plane.tenant_id)
            .order_by(AuditEvent.position)
        )
        events = (await session.execute(logged)).all()
        made, within = Fill(plane.tenant_id, project.id, account), admin.projects
        people = made.people()

        def of(pages: Callable[..., Any]) -> Callable[..., Any]:
            return lambda **more: pages(project.id, **more)

        lists = {
            "projects": Long(admin.projects.list, [project.id, *made.projects()]),
            "admin_keys": Long(admin.admin_api_keys.list, [*own_keys, *made.admin_keys()], has_order=True),
            "api_keys": Long(of(within.api_keys.list), [key.id, *made.api_keys()]),
            "service_accounts": Long(
                of(within.service_accounts.list), [account, *made.service_accounts()]
            ),
            "spend_alerts": Long(admin.spend_alerts.list, made.alerts(in_project=False), has_order=True),
            "project_spend_alerts": Long(
                of(within.spend_alerts.list), made.alerts(in_project=True), has_order=True
            ),
            "users": Long(admin.users.list, people),
            "project_users": Long(of(within.users.list), people),
            "invites": Long(admin.invites.list, made.invites()),
            "rate_limits": Long(of(within.rate_limits.list_rate_limits), made.rate_limits()),
            "audit_logs": Long(
                admin.audit_logs.list,
                [*[one for one, _ in events], *made.audit_logs(events[-1][1])],
                is_newest_first=True,
            ),
        }  # fmt: skip
        await put(session, made.rows)
    return lists


async def page_by_page(pages: Callable[..., Any], **asked: Any) -> list[str]:
    """The ids of a list, with `after` of each page for the next."""
    page = await pages(limit=91, **asked)
    ids = [one.id for one in page.data]
    while page.has_more:
        page = await pages(limit=91, after=ids[-1], **asked)
        ids += [one.id for one in page.data]
    return ids


async def test_a_thousand_of_everything_are_walked_to_the_end(plane: ServedPlane) -> None:
    """Guards against a list that ends early, repeats or skips what was made at one instant, or whose order
    another database has otherwise. On each database every list is walked; the SDK finds its way by itself on
    the one, and is led from page to page on the other.
    """
    async with openai.AsyncOpenAI(
        base_url=plane.base_url, admin_api_key=plane.owner_key, api_key="unused", max_retries=0
    ) as client:
        lists = await fill(plane, client.admin.organization)
        for name, long in lists.items():
            expected = long.ids[::-1] if long.is_newest_first else long.ids
            assert len(expected) >= MANY
            if plane.database.is_sqlite:
                walked = await page_by_page(long.pages)
            else:
                walked = [one.id async for one in long.pages(limit=100)]
            assert walked == expected, name
            if long.has_order:
                assert await page_by_page(long.pages, order="desc") == expected[::-1], name
