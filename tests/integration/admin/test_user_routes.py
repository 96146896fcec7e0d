"""/admin/v1/users: who may see, make, shut out and let in whom, over HTTP, on both databases."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import text

from admin.config import AdminSettings
from ledger.roles import Role
from tests.integration.admin.serving import Served, serving
from tests.people import MEMORY_MIB, OTHER_PASSWORD, PASSWORD, a_tenant, a_user

ANN = "ann@example.com"


@pytest.fixture
async def served(database_url: str, tmp_path: Path) -> AsyncIterator[Served]:
    settings = AdminSettings(database_url=database_url, data_dir=tmp_path, password_memory_mib=MEMORY_MIB)
    async with serving(settings) as running:
        yield running


async def test_the_operator_makes_a_user_shuts_them_out_and_lets_them_in(served: Served) -> None:
    """Guards against a user who cannot log in, or whose session outlives that they are shut out, and against
    a password that anything keeps.
    """
    tenant, _ = await a_tenant(served.database)
    order = {
        "email": "Ann@Example.com",
        "name": "Ann",
        "password": PASSWORD,
        "tenant_id": tenant.id,
        "role": "owner",
    }
    twice = {"Idempotency-Key": "the-same"}
    made = await served.client.post("/admin/v1/users", json=order, headers=twice)
    assert made.status_code == 201, made.text
    again = await served.client.post("/admin/v1/users", json=order, headers=twice)
    assert (again.status_code, again.json()) == (201, made.json())
    user_id = made.json()["id"]
    assert made.json()["memberships"] == [{"tenant_id": tenant.id, "role": "owner"}]
    refused = await served.client.post("/admin/v1/users", json=order)
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "already_exists")

    browser = served.browser()
    assert (await browser.log_in(ANN, PASSWORD)).status_code == 200
    shown = await served.client.get(f"/admin/v1/users/{user_id}")
    assert shown.json()["email"] == ANN and shown.json()["last_login_at"] is not None
    fits, stale = {"If-Match": shown.headers["etag"]}, {"If-Match": made.headers.get("etag", '"none"')}
    assert (await served.client.post(f"/admin/v1/users/{user_id}/disable", headers=stale)).status_code == 412
    gone = await served.client.post(f"/admin/v1/users/{user_id}/disable", headers=fits)
    assert (gone.status_code, gone.json()["state"]) == (200, "disabled")
    assert (await browser("GET", "/admin/v1/session")).status_code == 401
    assert (await browser.log_in(ANN, PASSWORD)).status_code == 401

    assert (await served.client.post(f"/admin/v1/users/{user_id}/enable")).json()["state"] == "active"
    assert (await browser.log_in(ANN, PASSWORD)).status_code == 200
    path = f"/admin/v1/users/{user_id}/password"
    weak = await served.client.post(path, json={"password": "ann@example.com"})
    assert weak.status_code == 400 and "ann@example.com" not in weak.text
    assert (await served.client.post(path, json={"password": OTHER_PASSWORD})).status_code == 200
    assert (await browser("GET", "/admin/v1/session")).status_code == 401
    assert (await browser.log_in(ANN, OTHER_PASSWORD)).status_code == 200
    async with served.database.read() as session:
        for table in ("audit_event", "kept_answer", "change"):
            kept = "".join(str(row) for row in await session.execute(text(f"SELECT * FROM {table}")))
            assert not any(one in kept for one in (PASSWORD, OTHER_PASSWORD, "argon2")), table


async def test_a_user_is_made_with_a_place_and_a_password_of_their_own(served: Served) -> None:
    """Guards against a user who belongs nowhere by a slip, or to everything."""
    tenant, _ = await a_tenant(served.database)
    who = {"email": ANN, "name": "Ann"}
    for order in (who, {**who, "tenant_id": tenant.id, "operator": True}):
        assert (await served.client.post("/admin/v1/users", json=order)).status_code == 400
    nowhere = {**who, "tenant_id": "org-000000000000000000000000"}
    assert (await served.client.post("/admin/v1/users", json=nowhere)).status_code == 404
    assert (await served.client.get("/admin/v1/users")).json()["data"] == []
    made = (await served.client.post("/admin/v1/users", json={**who, "operator": True})).json()
    assert made["operator"] and made["memberships"] == []
    reset = (await served.client.post(f"/admin/v1/users/{made['id']}/password-resets")).json()["token"]
    browser = served.browser()
    assert (await browser.log_in(ANN, PASSWORD)).status_code == 401
    order = {"token": reset, "password": PASSWORD}
    assert (await browser("POST", "/admin/v1/password-resets/accept", json=order)).status_code == 200
    assert (await browser.log_in(ANN, PASSWORD)).status_code == 200


async def test_a_tenant_sees_its_own_members_and_nothing_of_where_else_they_are(served: Served) -> None:
    """Guards against a list of everybody, and against a membership that tells of another tenant."""
    (ours, _), (theirs, _) = await a_tenant(served.database), await a_tenant(served.database, "Other")
    both = await a_user(served.database, "both@example.com", (ours.id, Role.READER), (theirs.id, Role.OWNER))
    stranger = await a_user(served.database, "stranger@example.com", (theirs.id, Role.READER))
    mine = {"Authorization": f"Bearer {await served.key(Role.ADMIN, ours.id)}"}
    listed = (await served.client.get("/admin/v1/users", headers=mine)).json()["data"]
    assert [(one["id"], one["memberships"]) for one in listed] == [
        (both.id, [{"tenant_id": ours.id, "role": "reader"}])
    ]
    assert theirs.id not in (await served.client.get(f"/admin/v1/users/{both.id}", headers=mine)).text
    for query in ({"tenant_id": theirs.id}, {"tenant_id": "org-none"}):
        assert (await served.client.get("/admin/v1/users", params=query, headers=mine)).status_code == 404
    for way in ("", "/disable", "/enable"):
        method = "POST" if way else "GET"
        answer = await served.client.request(method, f"/admin/v1/users/{stranger.id}{way}", headers=mine)
        assert answer.status_code == 404, way
    found = await served.client.get("/admin/v1/users", params={"email": "BOTH@example.com"})
    assert [one["id"] for one in found.json()["data"]] == [both.id]
    by_tenant = await served.client.get("/admin/v1/users", params={"tenant_id": theirs.id})
    assert {one["id"] for one in by_tenant.json()["data"]} == {both.id, stranger.id}


async def test_a_tenant_shuts_out_who_is_its_own_alone_and_not_above(served: Served) -> None:
    """Guards against a tenant that takes another one's member away, an admin who shuts the owner out, and a
    tenant that nobody can enter any more.
    """
    (ours, _), (theirs, _) = await a_tenant(served.database), await a_tenant(served.database, "Other")
    owner = await a_user(served.database, "owner@example.com", (ours.id, Role.OWNER))
    reader = await a_user(served.database, "reader@example.com", (ours.id, Role.READER))
    both = await a_user(served.database, "both@example.com", (ours.id, Role.READER), (theirs.id, Role.READER))
    admins = {"Authorization": f"Bearer {await served.key(Role.ADMIN, ours.id)}"}
    owners = {"Authorization": f"Bearer {await served.key(Role.OWNER, ours.id)}"}
    operators = {"Authorization": served.client.headers["Authorization"]}
    for headers, user, status in [
        (admins, reader, 200),
        (admins, owner, 403),
        (admins, both, 403),
        (owners, both, 403),
        (owners, owner, 400),  # the last one
        (operators, owner, 200),
        (operators, both, 200),
    ]:
        answer = await served.client.post(f"/admin/v1/users/{user.id}/disable", headers=headers)
        assert answer.status_code == status, (user.email, answer.text)
