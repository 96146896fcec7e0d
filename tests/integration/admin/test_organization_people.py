"""People of OpenAI's Administration API: the official SDK, the published shapes, pages, refusals."""

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from jsonschema import Draft202012Validator

from admin.config import AdminSettings
from ledger import memberships, project_memberships
from ledger.actors import PROGRAM
from ledger.project_roles import ProjectRole
from ledger.roles import Role, permissions_of
from ledger.tables.people import Invite, Membership, ProjectMembership, User
from tests.integration.admin.serving import Served, serving
from tests.people import MEMORY_MIB, a_tenant, a_user

PUBLISHED = json.loads((Path(__file__).parents[2] / "vectors/openai/people.json").read_text())
MANY = 25


@pytest.fixture
async def served(database_url: str, tmp_path: Path) -> AsyncIterator[Served]:
    settings = AdminSettings(database_url=database_url, data_dir=tmp_path, password_memory_mib=MEMORY_MIB)
    async with serving(settings) as running:
        yield running


class Walk:
    """OpenAI's client, and every answer that it was given, by operation."""

    def __init__(self, served: Served, key: str, tenant_id: str | None = None) -> None:
        """`tenant_id` is named in the header, if there is one."""
        self.seen: list[tuple[str, Any]] = []
        http = httpx.AsyncClient(event_hooks={"response": [self._note]}, verify=False, timeout=60)
        self.client = openai.AsyncOpenAI(
            admin_api_key=key,
            api_key="unused",
            organization=tenant_id,
            base_url=f"{served.url}/v1",
            http_client=http,
            max_retries=0,
        )

    async def _note(self, response: httpx.Response) -> None:
        await response.aread()
        if response.is_success:
            path = response.request.url.path.removeprefix("/v1")
            self.seen.append((f"{response.request.method} {template(path)}", response.json()))

    def hold_to_published(self, operations: set[str]) -> None:
        """Every one of these was asked, and every answer is as OpenAI's document says."""
        assert {operation for operation, _ in self.seen} >= operations
        for operation, answer in self.seen:
            schema = {**PUBLISHED["answers"][operation], "components": PUBLISHED["components"]}
            faults = [fault.message for fault in Draft202012Validator(schema).iter_errors(answer)]
            assert not faults, (operation, answer, faults)


def template(path: str) -> str:
    """The path of OpenAI's document that this one is of."""
    for known in {operation.partition(" ")[2] for operation in PUBLISHED["answers"]}:
        if re.fullmatch(re.sub(r"{\w+}", "[^/]+", known), path):
            return known
    return path


async def test_the_official_client_walks_people_from_invite_to_gone(served: Served) -> None:
    """Guards against a field that OpenAI's typed client cannot read, on any of the operations."""
    tenant, project = await a_tenant(served.database)
    await a_tenant(served.database, "Other")
    walk = Walk(served, await served.key(Role.OPERATOR), tenant.id)
    async with walk.client as client:
        organization = client.admin.organization
        opened = [{"id": project.id, "role": "member"}]
        invite = await organization.invites.create(
            email="Ann@Example.com",
            role="reader",
            projects=opened,  # type: ignore[arg-type]
        )
        assert (invite.email, invite.role, invite.status) == ("ann@example.com", "reader", "pending")
        assert invite.expires_at is not None
        assert invite.expires_at - invite.created_at == 7 * 86_400
        token = invite.model_extra["token"] if invite.model_extra else ""
        listed = [one async for one in organization.invites.list()]
        assert [one.id for one in listed] == [invite.id]
        assert "token" not in (listed[0].model_extra or {})
        accepted = await served.browser().accept(token, "Ann", "kumquat lattice vortex")
        assert accepted.status_code == 200, accepted.text
        after = await organization.invites.retrieve(invite.id)
        assert (after.status, after.accepted_at is not None, after.projects[0].id) == (
            "accepted",
            True,
            project.id,
        )
        with pytest.raises(openai.BadRequestError, match="accepted"):
            await organization.invites.delete(invite.id)
        other = await organization.invites.create(email="bob@example.com", role="owner")
        assert (await organization.invites.delete(other.id)).deleted
        with pytest.raises(openai.NotFoundError):
            await organization.invites.retrieve(other.id)

        (user,) = [one async for one in organization.users.list()]
        assert (user.email, user.name, user.role) == ("ann@example.com", "Ann", "reader")
        assert (await organization.users.retrieve(user.id)) == user
        assert [one.id async for one in organization.users.list(emails=["ANN@example.com", "x@y.z"])] == [
            user.id
        ]
        assert [one.id async for one in organization.users.list(emails=["x@y.z"])] == []
        raised = await organization.users.update(user.id, role="owner")
        assert raised.role == "owner"
        exact = await organization.users.update(user.id, role_id="role-billing")
        assert (exact.role, (exact.model_extra or {})["metergate_role"]) == ("reader", "billing")

        roles = [one async for one in organization.roles.list()]
        assert [one.name for one in roles] == ["reader", "billing", "admin", "owner"]
        assert set(roles[2].permissions) == permissions_of(Role.ADMIN)
        assert [one.id async for one in organization.roles.list(limit=1)] == [one.id for one in roles]
        assert [one.id async for one in organization.roles.list(order="desc", limit=3)] == [
            one.id for one in reversed(roles)
        ]
        assert (await organization.roles.retrieve("role-owner")).predefined_role
        assigned = await organization.users.roles.create(user.id, role_id="role-admin")
        assert (assigned.user.id, assigned.role.name) == (user.id, "admin")
        assert [one.name async for one in organization.users.roles.list(user.id)] == ["admin"]
        assert (await organization.users.roles.retrieve("role-admin", user_id=user.id)).name == "admin"
        with pytest.raises(openai.NotFoundError):
            await organization.users.roles.retrieve("role-owner", user_id=user.id)

        members = organization.projects.users
        (member,) = [one async for one in members.list(project.id)]
        assert (member.id, member.role, member.email) == (user.id, "member", "ann@example.com")
        assert (await members.update(user.id, project_id=project.id, role="owner")).role == "owner"
        assert (await members.retrieve(user.id, project_id=project.id)).role == "owner"
        assert (await members.delete(user.id, project_id=project.id)).deleted
        again = await members.create(project.id, role="member", email="ANN@example.com")
        assert again.id == user.id
        with pytest.raises(openai.ConflictError):
            await members.create(project.id, role="member", user_id=user.id)

        assert (await organization.users.delete(user.id)).deleted
        assert [one async for one in organization.users.list()] == []
        assert [one async for one in members.list(project.id)] == []
    walk.hold_to_published(set(PUBLISHED["answers"]))


async def test_pages_are_of_the_size_that_is_asked_for(served: Served) -> None:
    """Guards against a page of another size, and a place that is none. test_thousands walks long lists."""
    tenant, project = await a_tenant(served.database)
    users = [f"user-{number:024d}" for number in range(MANY)]
    async with served.database.write() as session:
        empty = await project_memberships.list_members(session, project, limit=1)
        assert empty.rows == []
        for number, user_id in enumerate(users):
            email = f"u{number}@example.com"
            session.add(
                User(id=user_id, email=email, name="U", state="active", is_operator=False, created_us=1)
            )
        await session.flush()
        for number, user_id in enumerate(users):
            added_us = 1 + number // 3
            session.add(Membership(user_id=user_id, tenant_id=tenant.id, role=Role.READER, added_us=added_us))
            role = ProjectRole.MEMBER
            session.add(
                ProjectMembership(user_id=user_id, project_id=project.id, role=role, added_us=added_us)
            )
            session.add(an_invite(number, tenant.id, added_us))
    walk = Walk(served, await served.key(Role.READER, tenant.id))
    async with walk.client as client:
        organization = client.admin.organization
        assert [one.id async for one in organization.users.list(limit=10)] == users
        assert [one.id async for one in organization.projects.users.list(project.id, limit=9)] == users
        assert len({one.id async for one in organization.invites.list(limit=10)}) == MANY
        first = await organization.users.list()
        assert len(first.data) == 20
        for limit in (0, 101):
            with pytest.raises(openai.BadRequestError):
                await organization.users.list(limit=limit)
        with pytest.raises(openai.NotFoundError):
            await organization.users.list(after="user-none")
    walk.hold_to_published({"GET /organization/users", "GET /organization/invites"})


def an_invite(number: int, tenant_id: str, created_us: int) -> Invite:
    """One of many, which nobody can accept."""
    from ledger.project_roles import ProjectGrants  # noqa: PLC0415

    return Invite(
        id=f"invite-{number:024d}",
        tenant_id=tenant_id,
        email=f"i{number}@example.com",
        role=Role.READER,
        projects=ProjectGrants(()),
        digest=number.to_bytes(32, "big"),
        created_us=created_us,
        expires_us=2,
    )


async def test_a_tenants_people_are_its_own(served: Served) -> None:
    """Guards against a tenant that reads or changes another's people: as if they did not exist."""
    tenant, project = await a_tenant(served.database)
    other, others_project = await a_tenant(served.database, "Other")
    bob = await a_user(served.database, "bob@example.com", (other.id, Role.READER))
    async with served.database.write() as session:
        await project_memberships.add(session, others_project, bob.id, ProjectRole.MEMBER, 2, by=PROGRAM)
    theirs = {"Authorization": f"Bearer {await served.key(Role.OWNER, other.id)}"}
    order = {"email": "cid@example.com", "role": "reader"}
    invite = (await served.client.post("/v1/organization/invites", json=order, headers=theirs)).json()
    mine = {"Authorization": f"Bearer {await served.key(Role.OWNER, tenant.id)}"}
    for method, path, body in (
        ("GET", f"users/{bob.id}", None),
        ("POST", f"users/{bob.id}", {"role": "owner"}),
        ("DELETE", f"users/{bob.id}", None),
        ("GET", f"users/{bob.id}/roles", None),
        ("GET", f"users/{bob.id}/roles/role-reader", None),
        ("POST", f"users/{bob.id}/roles", {"role_id": "role-owner"}),
        ("GET", f"invites/{invite['id']}", None),
        ("DELETE", f"invites/{invite['id']}", None),
        ("GET", f"projects/{others_project.id}/users", None),
        ("POST", f"projects/{others_project.id}/users", {"email": "bob@example.com", "role": "owner"}),
        ("GET", f"projects/{others_project.id}/users/{bob.id}", None),
        ("POST", f"projects/{others_project.id}/users/{bob.id}", {"role": "owner"}),
        ("DELETE", f"projects/{others_project.id}/users/{bob.id}", None),
        ("POST", f"projects/{project.id}/users", {"user_id": bob.id, "role": "owner"}),
        ("POST", f"projects/{project.id}/users", {"email": "bob@example.com", "role": "owner"}),
    ):
        answer = await served.client.request(method, f"/v1/organization/{path}", json=body, headers=mine)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found"), (method, path)
    async with served.database.read() as session:
        member, _ = await memberships.get_member(session, other.id, bob.id)
        assert member.role is Role.READER


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("invites", {"email": "no address", "role": "reader"}, "e-mail"),
        ("invites", {"email": "a@example.com", "role": "operator"}, "role"),
        ("invites", {"email": "a@example.com", "role": "reader", "teams": []}, "teams"),
        (
            "invites",
            {"email": "a@example.com", "role": "reader", "projects": [{"id": "p", "role": "x"}]},
            "role",
        ),
        ("users/USER", {"role": "member"}, "role"),
        ("users/USER", {"role": "owner", "role_id": "role-admin"}, "two different"),
        ("users/USER", {"role_id": "role-operator"}, "no role with the id"),
        ("users/USER", {"technical_level": "high"}, "technical_level"),
        ("users/USER/roles", {"role_id": "owner"}, "no role with the id"),
        ("projects/PROJECT/users", {"role": "member"}, "one of user_id and email"),
        ("projects/PROJECT/users", {"user_id": "USER", "email": "a@b.c", "role": "member"}, "one of"),
        ("projects/PROJECT/users", {"user_id": "USER", "role": "reader"}, "role"),
    ],
)
async def test_what_cannot_be_is_refused(
    sqlite_url: str, tmp_path: Path, path: str, body: dict[str, object], said: str
) -> None:
    """Guards against an order that is half understood."""
    settings = AdminSettings(database_url=sqlite_url, data_dir=tmp_path, password_memory_mib=MEMORY_MIB)
    async with serving(settings) as served:
        tenant, project = await a_tenant(served.database)
        user = await a_user(served.database, "ann@example.com", (tenant.id, Role.READER))
        path = path.replace("USER", user.id).replace("PROJECT", project.id)
        answer = await served.client.post(f"/v1/organization/{path}", json=body)
        assert answer.status_code == 400, answer.text
        assert said in answer.json()["error"]["message"]
