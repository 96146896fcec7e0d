"""/v1/organization/audit_logs by OpenAI's own client, and `metergate audit`: who reads what of the log."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import httpx
import openai
import pytest
from openai.types.admin.organization import AuditLogListResponse

from admin.config import AdminSettings
from admin.plane_server import configuration
from ledger import admin_keys, tenancy
from ledger.actors import Actor, ActorKind
from ledger.audit_events import Event, openais
from ledger.audit_pages import AuditFilter, page
from ledger.database import Database
from ledger.roles import Role
from ledger.settings import pepper
from tests.integration.admin.asking import filled
from tests.integration.admin.conftest import Cli
from tests.integration.admin.control_planes import an_app

SECOND = 1_000_000
ANN = Actor(
    ActorKind.USER, "user-ann", "Ann", Role.OWNER,
    email="ann@example.com", address="192.0.2.1", user_agent="web",
)  # fmt: skip


@dataclass(frozen=True)
class Organization:
    """Two tenants with a past, and a way in for each admin key."""

    database: Database
    transport: httpx.ASGITransport
    secrets: dict[str, str]
    ids: dict[str, str]

    def client(self, whose: str, organization: str | None = None) -> openai.AsyncOpenAI:
        """OpenAI's own client."""
        return openai.AsyncOpenAI(
            admin_api_key=self.secrets[whose],
            api_key="unused",
            organization=organization,
            base_url="http://plane/v1",
            http_client=httpx.AsyncClient(transport=self.transport, base_url="http://plane"),
        )

    async def logs(
        self, whose: str, organization: str | None = None, **wanted: Any
    ) -> list[AuditLogListResponse]:
        """All that a key reads, page by page."""
        async with self.client(whose, organization) as client:
            return [log async for log in client.admin.organization.audit_logs.list(limit=2, **wanted)]


@pytest.fixture
async def past(database_url: str, tmp_path: Path) -> AsyncIterator[Organization]:
    settings = AdminSettings(database_url=database_url, data_dir=tmp_path)
    async with an_app(settings) as app, app.router.lifespan_context(app):
        database: Database = app.state.plane.database
        async with database.write() as session:
            tenant = await tenancy.create_tenant(session, "Acme", 10 * SECOND)
            other = await tenancy.create_tenant(session, "Other", 11 * SECOND)
            await session.flush()
            project = await tenancy.create_project(session, tenant.id, "Chat", 12 * SECOND, by=ANN)
            beside = await tenancy.create_project(session, tenant.id, "Beside", 13 * SECOND, by=ANN)
            await session.flush()
            key, _ = await tenancy.create_api_key(
                session, pepper(settings), project.id, "CI", 14 * SECOND, by=ANN
            )
            await tenancy.revoke_api_key(session, key.id, 15 * SECOND, by=ANN)
            await tenancy.create_project(session, other.id, "Theirs", 16 * SECOND, by=ANN)
            secrets = {
                name: (
                    await admin_keys.create_admin_key(
                        session, pepper(settings), name, 17 * SECOND, role=role, tenant_id=tenant_id,
                        project_id=project_id,
                    )
                )[1]
                for name, role, tenant_id, project_id in (
                    ("operator", Role.OPERATOR, None, None),
                    ("owner", Role.OWNER, tenant.id, None),
                    ("limited", Role.ADMIN, tenant.id, project.id),
                )
            }  # fmt: skip
        ids = {
            "tenant": tenant.id, "other": other.id, "project": project.id, "beside": beside.id, "key": key.id,
        }  # fmt: skip
        yield Organization(database, httpx.ASGITransport(app), secrets, ids)


def names(logs: list[AuditLogListResponse]) -> list[str]:
    return [log.type for log in logs]


async def test_a_tenant_reads_its_log_with_openais_client(past: Organization) -> None:
    """Guards against a log that OpenAI's tools cannot read, or that shows another tenant's events."""
    logs = await past.logs("owner")
    assert names(logs) == [
        "tenant.admin_api_key.created",
        "tenant.admin_api_key.created",
        "api_key.deleted",
        "api_key.created",
        "project.created",
        "project.created",
        "organization.updated",
    ]
    deleted, created, made = logs[2], logs[3], logs[5]
    assert deleted.api_key_deleted is not None and deleted.api_key_deleted.id == past.ids["key"]
    assert created.api_key_created is not None and created.api_key_created.id == past.ids["key"]
    assert made.project_created is not None and made.project_created.data is not None
    assert made.project_created.data.name == "Chat"
    assert made.project is not None and (made.project.id, made.project.name) == (past.ids["project"], "Chat")
    assert made.effective_at == 12
    assert made.actor is not None and made.actor.type == "session"
    assert made.actor.session is not None and made.actor.session.ip_address == "192.0.2.1"
    assert made.actor.session.user is not None and made.actor.session.user.email == "ann@example.com"
    assert logs[-1].actor is None
    ours: Any = made.metergate  # type: ignore[attr-defined]
    assert ours["after"] == {"model_permissions": None, "name": "Chat", "state": "active"}
    assert ours["user_agent"] == "web" and len(ours["hash"]) == 64


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({"event_types": ["api_key.created", "api_key.deleted"]}, [15, 14]),
        ({"project_ids": ["{project}"]}, [17, 15, 14, 12]),
        ({"resource_ids": ["{beside}", "{key}"]}, [15, 14, 13]),
        ({"actor_ids": ["user-ann"]}, [15, 14, 13, 12]),
        ({"actor_emails": ["ann@example.com"], "project_ids": ["{beside}"]}, [13]),
        ({"actor_ids": ["metergate"]}, []),
        ({"effective_at": {"gt": 13, "lte": 15}}, [15, 14]),
        ({"effective_at": {"gte": 13, "lt": 15}}, [14, 13]),
        ({"tenant_only": True}, [17, 17]),
        ({"project_ids": ["proj_none"]}, []),
        ({"event_types": ["organization.updated"]}, [10]),
        ({"event_types": ["organization.created"]}, [10]),
        ({"event_types": ["user.deleted"]}, []),
        ({"event_types": ["nonsense"]}, []),
    ],
)
async def test_every_filter_of_openais(past: Organization, wanted: dict[str, Any], found: list[int]) -> None:
    """Guards against a filter that is taken and ignored."""
    assert [log.effective_at for log in await past.logs("owner", **filled(wanted, past.ids))] == found


def test_openais_clients_are_told_names_that_they_know() -> None:
    """Guards against a client that refuses the whole page for one word."""
    known = set(get_args(AuditLogListResponse.model_fields["type"].annotation))
    assert len(known) > 50
    assert {openais(event) for event in Event} <= known


async def test_the_log_is_walked_back(past: Organization) -> None:
    async with past.client("owner") as client:
        audit_logs = client.admin.organization.audit_logs
        first = await audit_logs.list(limit=3)
        second = await audit_logs.list(limit=3, after=first.data[-1].id)
        back = await audit_logs.list(limit=3, before=second.data[0].id)
        assert [log.id for log in back.data] == [log.id for log in first.data]
        with pytest.raises(openai.NotFoundError):
            await audit_logs.list(after="audit_log-none")
        with pytest.raises(openai.BadRequestError):
            await audit_logs.list(limit=101)


async def test_who_reads_what(past: Organization) -> None:
    """Guards against a limited key that reads the tenant's log, and a tenant that learns of the operator's
    people.
    """
    assert {log.project.id for log in await past.logs("limited") if log.project} == {past.ids["project"]}
    assert len(await past.logs("limited")) == 4
    theirs = await past.logs("operator", past.ids["other"])
    assert names(theirs) == ["project.created", "organization.updated"]
    with pytest.raises(openai.NotFoundError):
        await past.logs("owner", past.ids["other"])
    async with past.client("operator", past.ids["tenant"]) as client:
        made = await client.admin.organization.projects.create(name="By the operator")
    for whose, address in (("operator", "127.0.0.1"), ("owner", None)):
        (log,) = await past.logs(whose, past.ids["tenant"], resource_ids=[made.id])
        ours: Any = log.metergate  # type: ignore[attr-defined]
        assert ours["address"] == address and ours["actor_role"] == "operator"
        assert log.actor is not None and log.actor.api_key is not None
        assert (log.actor.api_key.id == "operator") == (whose == "owner")


@pytest.mark.parametrize(
    ("trusted", "peer", "told"),
    [
        ("", "127.0.0.1", "198.51.100.7"),
        ("", "192.0.2.9", "192.0.2.9"),
        ("192.0.2.0/24", "192.0.2.9", "198.51.100.7"),
        ("192.0.2.0/24", "127.0.0.1", "127.0.0.1"),
    ],
)
async def test_the_address_is_the_clients_and_not_what_it_claims(
    sqlite_url: str, tmp_path: Path, trusted: str, peer: str, told: str
) -> None:
    """Guards against a log that has nginx's address for everybody, and one that believes anybody."""
    settings = AdminSettings(
        database_url=sqlite_url, data_dir=tmp_path, trusted_proxies=(trusted,) if trusted else ()
    )
    config = configuration(settings)
    config.load()
    async with config.app.router.lifespan_context(config.app):  # type: ignore[union-attr]
        database: Database = config.app.state.plane.database  # type: ignore[union-attr]
        async with database.write() as session:
            _, secret = await admin_keys.create_admin_key(session, pepper(settings), "Operator", 1)
        transport = httpx.ASGITransport(config.loaded_app, client=(peer, 1))
        headers = {"Authorization": f"Bearer {secret}", "X-Forwarded-For": "203.0.113.1, 198.51.100.7"}
        async with httpx.AsyncClient(transport=transport, base_url="http://plane") as client:
            await client.post("/admin/v1/tenants", json={"name": "Acme"}, headers=headers)
        async with database.read() as session:
            newest = (await page(session, AuditFilter(), 1)).events[0]
    assert newest.address == told


def test_the_command_line_tells_who_did_what(cli: Cli) -> None:
    """Guards against changes that nobody is named for, since they came from the host itself."""
    tenant = cli("tenant", "create", "Acme")
    project = cli("project", "create", "Chat", "--tenant", tenant["id"])
    key = cli("key", "create", "--project", project["id"])
    for verb in ("block", "unblock", "revoke"):
        cli("key", verb, key["id"])
    cli("key", "update", cli("key", "create", "--project", project["id"])["id"], "--scope", "models")
    limit = cli("limit", "set", "--key", key["id"], "--kind", "spend", "--max", "1.00")
    cli("limit", "remove", limit["id"])
    cli("price", "set", "m", "--input", "1", "--output", "1")
    cli("tenant", "update", tenant["id"], "--outage-policy", "fail-open")
    cli("tenant", "block", tenant["id"])
    cli("project", "update", project["id"], "--deny-model", "x")
    cli("project", "archive", project["id"])
    admin = cli("admin-key", "create", "--tenant", tenant["id"], "--role", "billing", "--expires", "30d")
    assert (admin["role"], admin["tenant_id"], admin["project_id"]) == ("billing", tenant["id"], None)
    cli("admin-key", "revoke", admin["id"])
    cli("db", "adopt-secret")

    log = cli("audit", "list")
    assert [event["event"] for event in reversed(log)] == [
        "organization.created",
        "project.created",
        "api_key.created",
        "api_key.updated",
        "api_key.updated",
        "api_key.deleted",
        "api_key.created",
        "api_key.updated",
        "limit.updated",
        "limit.deleted",
        "price.created",
        "organization.updated",
        "organization.updated",
        "project.updated",
        "project.archived",
        "tenant.admin_api_key.created",
        "tenant.admin_api_key.deleted",
        "secret.adopted",
    ]
    assert {event["actor_kind"] for event in log} == {"command_line"}
    assert key["key"] not in str(log) and admin["key"] not in str(log)
    assert len(cli("audit", "list", "--limit", "2")) == 2
    assert {event["subject_id"] for event in cli("audit", "list", "--subject", key["id"])} == {key["id"]}
    assert cli("audit", "list", "--event", "price.created", "--since", "1h")[0]["tenant_id"] is None
    assert cli("audit", "list", "--tenant", "org-none") == []

    clean = cli("ledger", "verify")
    assert clean["state"] == "clean" and clean["audit_head"].startswith("18:")
    assert cli("ledger", "verify", "--audit-head", clean["audit_head"])["state"] == "clean"
    other = cli.run("ledger", "verify", "--audit-head", "18:" + "00" * 32)
    assert other.returncode == 1 and "audit" in other.stdout
    assert cli.run("ledger", "verify", "--audit-head", "nonsense").returncode == 1
