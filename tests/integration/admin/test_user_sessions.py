"""Where somebody is logged in: who may see it over HTTP, and who may end it; on both databases."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from admin.config import AdminSettings
from ledger.roles import Role
from tests.integration.admin.serving import Browser, Served, serving
from tests.people import MEMORY_MIB, PASSWORD, a_tenant, a_user, hashed

ANN = "ann@example.com"


@pytest.fixture
async def served(database_url: str, tmp_path: Path) -> AsyncIterator[Served]:
    settings = AdminSettings(database_url=database_url, data_dir=tmp_path, password_memory_mib=MEMORY_MIB)
    async with serving(settings) as running:
        yield running


async def logged_in(served: Served, email: str, *names: str) -> list[Browser]:
    """Browsers of these names that have logged in."""
    browsers = [served.browser(**{"user-agent": name}) for name in names]
    for browser in browsers:
        assert (await browser.log_in(email, PASSWORD)).status_code == 200
    return browsers


async def is_in(browser: Browser) -> bool:
    return (await browser("GET", "/admin/v1/session")).status_code == 200


async def test_a_session_that_was_left_somewhere_is_found_and_ended(served: Served) -> None:
    """Guards against a lost laptop that goes on until its session is over by itself; against one that is
    ended with the others, or is somebody else's; and against a way to get into it.
    """
    tenant, _ = await a_tenant(served.database)
    ann = await a_user(served.database, ANN, (tenant.id, Role.READER), credential_hash=await hashed(ANN))
    other = "other@example.com"
    await a_user(served.database, other, (tenant.id, Role.READER), credential_hash=await hashed(other))
    laptop, desk, phone = await logged_in(served, ANN, "laptop", "desk", "phone")
    (others,) = await logged_in(served, other, "others")
    admin = {"Authorization": f"Bearer {await served.key(Role.ADMIN, tenant.id)}"}
    path = f"/admin/v1/users/{ann.id}/sessions"
    page = (await served.client.get(path, headers=admin, params={"limit": "2"})).json()
    assert [one["user_agent"] for one in page["data"]] == ["laptop", "desk"] and page["has_more"]
    rest = (await served.client.get(path, headers=admin, params={"after": page["next_after"]})).json()
    assert [one["user_agent"] for one in rest["data"]] == ["phone"]
    first = page["data"][0]
    assert set(first) == {"id", "created_at", "last_seen_at", "expires_at", "address", "user_agent"}
    tokens = [value for browser in (laptop, desk, phone) for value in browser.client.cookies.values()]
    assert not any(token.partition(".")[2] in str((page, rest)) for token in tokens)

    ended = await served.client.delete(f"{path}/{first['id']}", headers=admin)
    assert (ended.status_code, ended.json()) == (200, {"ended": 1})
    assert [await is_in(one) for one in (laptop, desk, phone, others)] == [False, True, True, True]
    assert (await served.client.delete(f"{path}/{first['id']}", headers=admin)).status_code == 404
    theirs = (await others("GET", "/admin/v1/sessions")).json()["data"][0]["id"]
    assert (await served.client.delete(f"{path}/{theirs}", headers=admin)).status_code == 404
    assert (await served.client.delete(path, headers=admin)).json() == {"ended": 2}
    assert (await served.client.delete(path, headers=admin)).json() == {"ended": 0}
    assert [await is_in(one) for one in (desk, phone, others)] == [False, False, True]
    assert (await laptop.log_in(ANN, PASSWORD)).status_code == 200

    events = await served.client.get("/admin/v1/audit_events", params={"event": "logout.succeeded"})
    told = [
        (one["subject_id"], one["tenant_id"], one["actor_kind"], one["actor_role"], one["before"])
        for one in events.json()["data"]
    ]
    by = (ann.id, tenant.id, "admin_key", "admin")
    assert told == [
        (*by, {"session_id": None, "sessions_ended": 2}),
        (*by, {"session_id": first["id"], "sessions_ended": 1}),
    ]


async def test_nobody_sees_or_ends_the_sessions_of_who_is_above_or_elsewhere_too(served: Served) -> None:
    """Guards against a tenant that learns from where its members work for another one, and an admin who logs
    the owner out. Who may not at all: test_permissions.
    """
    (ours, _), (theirs, _) = await a_tenant(served.database), await a_tenant(served.database, "Other")
    people = {
        name: await a_user(served.database, f"{name}@example.com", *roles, is_operator=name == "operator")
        for name, roles in {
            "reader": [(ours.id, Role.READER)],
            "owner": [(ours.id, Role.OWNER)],
            "both": [(ours.id, Role.READER), (theirs.id, Role.READER)],
            "stranger": [(theirs.id, Role.READER)],
            "operator": [],
        }.items()
    }
    keys = {
        role: {"Authorization": f"Bearer {await served.key(role, ours.id)}"}
        for role in (Role.OWNER, Role.ADMIN)
    }
    keys[Role.OPERATOR] = {"Authorization": served.client.headers["Authorization"]}
    expected = {
        Role.OPERATOR: dict.fromkeys(people, 200),
        Role.OWNER: {"reader": 200, "owner": 200, "both": 403, "stranger": 404, "operator": 404},
        Role.ADMIN: {"reader": 200, "owner": 403, "both": 403, "stranger": 404, "operator": 404},
    }
    for role, answers in expected.items():
        for name, status in answers.items():
            path = f"/admin/v1/users/{people[name].id}/sessions"
            for method in ("GET", "DELETE"):
                answer = await served.client.request(method, path, headers=keys[role])
                assert answer.status_code == status, (role, name, method, answer.text)
            one = await served.client.delete(f"{path}/session_000000000000000000000000", headers=keys[role])
            assert one.status_code == (404 if status == 200 else status), (role, name, one.text)
    nobody = "/admin/v1/users/user-000000000000000000000000/sessions"
    for role in (Role.OPERATOR, Role.ADMIN):
        for method in ("GET", "DELETE"):
            answer = await served.client.request(method, nobody, headers=keys[role])
            assert answer.status_code == 404
