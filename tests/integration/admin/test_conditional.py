"""Requests that are sent twice, and changes to what somebody else has changed meanwhile: Idempotency-Key,
ETag, If-Match and If-None-Match, under a real uvicorn on both databases.
"""

import asyncio
import time
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from ledger import admin_keys, kept_answers, tenancy
from ledger.database import Database
from ledger.ids import new_id
from ledger.kept_answers import KEPT_US
from ledger.roles import Role
from ledger.settings import pepper
from ledger.states import OutagePolicy
from ledger.tables.answers import KeptAnswer
from tests.integration.admin.control_planes import ControlPlane, serve

TENANTS = "/admin/v1/tenants"


def keyed(key: str, **more: str) -> dict[str, str]:
    return {"Idempotency-Key": key, **more}


async def count(database: Database, table: str) -> int:
    async with database.read() as session:
        return int((await session.execute(text(f"SELECT count(*) FROM {table}"))).scalar_one())


async def names(plane: ControlPlane) -> list[str]:
    async with plane.database.read() as session:
        return [tenant.name for tenant in await tenancy.list_tenants(session)]


async def make_key(plane: ControlPlane, **order: Any) -> str:
    async with plane.database.write() as session:
        _, secret = await admin_keys.create_admin_key(session, pepper(plane.settings), "Other", 1, **order)
    return secret


async def test_a_request_sent_twice_is_done_once(plane: ControlPlane) -> None:
    """Guards against a client's retry that makes a second tenant."""
    first = await plane.client.post(TENANTS, json={"name": "Acme"}, headers=keyed("k"))
    again = await plane.client.post(TENANTS, json={"name": "Acme"}, headers=keyed("k"))
    assert (again.status_code, again.content) == (first.status_code, first.content) == (201, first.content)
    assert again.headers["content-type"] == first.headers["content-type"]
    assert again.headers["idempotent-replayed"] == "true" and "idempotent-replayed" not in first.headers
    assert await names(plane) == ["Acme"]
    assert await count(plane.database, "audit_event WHERE event = 'organization.created'") == 1
    other = await plane.client.post(TENANTS, json={"name": "Acme"}, headers=keyed("l"))
    assert other.json()["id"] != first.json()["id"]


@pytest.mark.parametrize(
    ("path", "body", "more"),
    [
        (TENANTS, {"name": "Bcme"}, {}),
        ("/admin/v1/prices", {"name": "Acme"}, {}),
        (TENANTS, {"name": "Acme"}, {"OpenAI-Organization": "org-other"}),
        (f"{TENANTS}?a=b", {"name": "Acme"}, {}),
    ],
)
async def test_a_key_is_for_one_request(
    plane: ControlPlane, path: str, body: dict[str, str], more: dict[str, str]
) -> None:
    """Guards against an answer that belongs to another request."""
    await plane.client.post(TENANTS, json={"name": "Acme"}, headers=keyed("k"))
    if path == "/admin/v1/prices":
        body = {"model": "m", "input": "1", "output": "1"}
    answer = await plane.client.post(path, json=body, headers=keyed("k", **more))
    assert answer.status_code == 422
    error = answer.json()["error"]
    assert (error["code"], error["param"]) == ("idempotency_key_reused", "Idempotency-Key")
    assert "idempotent-replayed" not in answer.headers
    assert await names(plane) == ["Acme"]


async def test_two_that_race_with_one_key_make_one_thing(plane: ControlPlane) -> None:
    """Guards against two retries that both find nothing kept: in one process, and in two on one database."""
    async with serve(plane.settings) as url:
        beside = httpx.AsyncClient(base_url=url, headers=plane.client.headers, timeout=30, verify=False)
        async with beside:
            answers = await asyncio.gather(
                *(
                    client.post(TENANTS, json={"name": "Acme"}, headers=keyed(f"k{number}"))
                    for number in range(4)
                    for client in (plane.client, beside) * 4
                )
            )
    assert {answer.status_code for answer in answers} <= {201, 409}
    assert await names(plane) == ["Acme"] * 4
    assert len({answer.json()["id"] for answer in answers if answer.status_code == 201}) == 4
    for answer in answers:
        if answer.status_code == 409:
            assert answer.json()["error"]["code"] == "idempotency_key_in_use"


@pytest.mark.postgres
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_while_the_first_is_at_work_the_second_is_refused(plane: ControlPlane) -> None:
    """Guards against a retry that is done beside its first, or waits for it until its own client gives up. On
    SQLite there is one writer: the second waits there, and is answered from what is kept.
    """
    async with plane.database.write() as session:
        tenant = await tenancy.create_tenant(session, "Acme", 1)
    patched = f"{TENANTS}/{tenant.id}/block"
    async with plane.database.write() as session:
        await session.execute(text("UPDATE tenant SET name = name"))  # the first waits for this row
        first = asyncio.create_task(plane.client.post(patched, headers=keyed("k")))
        locked = text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted")
        while not (await session.execute(locked)).scalar_one():
            await asyncio.sleep(0)
        async with (
            serve(plane.settings) as url,
            httpx.AsyncClient(base_url=url, timeout=30, verify=False) as beside,
        ):
            for client in (plane.client, beside):
                second = await client.post(patched, headers={**plane.client.headers, **keyed("k")})
                assert second.status_code == 409, second.text
                assert second.json()["error"]["code"] == "idempotency_key_in_use"
    assert (await first).json()["state"] == "blocked"
    third = await plane.client.post(patched, headers=keyed("k"))
    assert third.headers["idempotent-replayed"] == "true"


async def test_a_secret_that_is_shown_once_is_shown_again_to_who_has_the_key(plane: ControlPlane) -> None:
    """Guards against a lost answer that loses the key, and against a secret in the database in clear."""
    order = {"role": "operator"}
    first = await plane.client.post("/admin/v1/admin_keys", json=order, headers=keyed("k"))
    again = await plane.client.post("/admin/v1/admin_keys", json=order, headers=keyed("k"))
    secret = first.json()["key"]
    assert again.json()["key"] == secret
    async with plane.database.read() as session:
        (kept,) = (await session.execute(text("SELECT answer FROM kept_answer"))).scalars()
    assert secret.encode() not in bytes(kept) and b"adminkey_" not in bytes(kept)
    if plane.database.is_sqlite:
        folder = plane.settings.data_dir
        assert all(secret.encode() not in file.read_bytes() for file in folder.glob("metergate.db*"))


async def test_another_callers_key_of_the_same_name_is_another_key(plane: ControlPlane) -> None:
    """Guards against an answer, with its secret, for whoever guesses the key."""
    other = await make_key(plane)
    body = {"name": "Acme"}
    first = await plane.client.post(TENANTS, json=body, headers=keyed("k"))
    second = await plane.client.post(TENANTS, json=body, headers=keyed("k", Authorization=f"Bearer {other}"))
    assert second.status_code == 201 and second.json()["id"] != first.json()["id"]


async def test_who_may_not_any_more_is_told_nothing(plane: ControlPlane) -> None:
    """Guards against an answer that outlives the key it was given to."""
    secret = await make_key(plane)
    mine = {"Authorization": f"Bearer {secret}"}
    assert (await plane.client.post(TENANTS, json={"name": "A"}, headers=keyed("k", **mine))).is_success
    (key,) = [
        key
        for key in (await plane.client.get("/admin/v1/admin_keys")).json()["data"]
        if key["name"] == "Other"
    ]
    await plane.client.post(f"/admin/v1/admin_keys/{key['id']}/revoke")
    again = await plane.client.post(TENANTS, json={"name": "A"}, headers=keyed("k", **mine))
    assert again.status_code == 401


async def test_what_was_refused_may_be_tried_again(plane: ControlPlane) -> None:
    """Guards against a refusal that is kept though nothing was done, and against half of what was."""
    tenant = (await plane.client.post(TENANTS, json={"name": "A"})).json()
    project = (await plane.client.post(f"{TENANTS}/{tenant['id']}/projects", json={"name": "P"})).json()
    limit = {"api_key_id": new_id("key_"), "kind": "spend", "max": "1.00"}
    for _ in range(2):
        answer = await plane.client.post("/admin/v1/limits", json=limit, headers=keyed("k"))
        assert answer.status_code == 404 and "idempotent-replayed" not in answer.headers
    limit = {"project_id": project["id"], "kind": "spend", "max": "1.00"}
    assert (await plane.client.post("/admin/v1/limits", json=limit, headers=keyed("k"))).status_code == 200


async def test_a_key_that_is_none_is_refused(plane: ControlPlane) -> None:
    """Guards against keys without bounds."""
    for key in (b"", b"x" * 256, "ü".encode()):
        answer = await plane.client.post(TENANTS, json={"name": "A"}, headers={b"Idempotency-Key": key})
        assert answer.status_code == 400
        assert answer.json()["error"]["param"] == "Idempotency-Key"
    assert not await names(plane)


async def test_answers_go_after_a_day_and_the_oldest_beyond_the_bound(database: Database) -> None:
    """Guards against a table that only grows."""
    now = 10 * KEPT_US
    async with database.write() as session:
        for number in range(12):
            created = now - KEPT_US - number if number < 4 else now - number
            session.add(
                KeptAnswer(
                    digest=bytes([number]), actor_id="a", method="POST", path="/", fingerprint=b"",
                    http_status=200, created_us=created,
                )
            )  # fmt: skip
    async with database.write() as session:
        assert await kept_answers.clear(session, now, at_most=5) == 4 + 3
    async with database.read() as session:
        left = (await session.execute(text("SELECT digest FROM kept_answer ORDER BY digest"))).scalars()
        assert [bytes(one)[0] for one in left] == [4, 5, 6, 7, 8]


async def test_a_key_of_yesterday_is_a_new_one(plane: ControlPlane) -> None:
    """Guards against an answer that is older than what was promised, where nobody has cleared it away."""
    await plane.client.post(TENANTS, json={"name": "A"}, headers=keyed("k"))
    async with plane.database.write() as session:
        await session.execute(text(f"UPDATE kept_answer SET created_us = created_us - {KEPT_US}"))
    assert (await plane.client.post(TENANTS, json={"name": "B"}, headers=keyed("k"))).status_code == 201
    assert await count(plane.database, "kept_answer") == 1


async def test_a_change_to_what_somebody_changed_meanwhile_is_refused(plane: ControlPlane) -> None:
    """Guards against a change that undoes another one that its maker never saw."""
    tenant = (await plane.client.post(TENANTS, json={"name": "Acme"})).json()
    path = f"{TENANTS}/{tenant['id']}"
    tag = (await plane.client.get(path)).headers["etag"]
    assert tag.startswith('"') and (await plane.client.get(path)).headers["etag"] == tag
    opened = await plane.client.patch(
        path, json={"outage_policy": "fail_open"}, headers={"If-Match": f'"x", {tag}'}
    )
    assert opened.status_code == 200
    late = await plane.client.patch(path, json={"outage_policy": "fail_closed"}, headers={"If-Match": tag})
    assert late.status_code == 412
    assert late.json()["error"]["code"] == "precondition_failed"
    blocked = await plane.client.post(f"{path}/block", headers={"If-Match": tag})
    assert blocked.status_code == 412
    now = await plane.client.get(path)
    assert now.json() == opened.json()
    fits = now.headers["etag"]
    assert (await plane.client.post(f"{path}/block", headers={"If-Match": fits})).status_code == 200
    assert (await plane.client.post(f"{path}/unblock", headers={"If-Match": "*"})).status_code == 200
    assert (await plane.client.post(f"{path}/block", headers={"If-Match": f"W/{fits}"})).status_code == 412
    gone = await plane.client.post(f"{TENANTS}/org-none/block", headers={"If-Match": fits})
    assert gone.status_code == 404
    made = await plane.client.post(TENANTS, json={"name": "B"}, headers={"If-Match": "*"})
    assert made.status_code == 412
    assert await names(plane) == ["Acme"]


async def test_of_changes_that_race_with_one_tag_one_is_made(plane: ControlPlane) -> None:
    """Guards against two that both compare first and change then."""
    async with plane.database.write() as session:
        tenant = await tenancy.create_tenant(session, "Acme", 1)
        await session.flush()
        project = await tenancy.create_project(session, tenant.id, "P", 1)
    path = f"/admin/v1/projects/{project.id}"
    async with (
        serve(plane.settings) as url,
        httpx.AsyncClient(base_url=url, headers=plane.client.headers, timeout=30, verify=False) as beside,
    ):
        for turn in range(3):
            tag = (await plane.client.get(path)).headers["etag"]
            orders = [{"mode": "allow_list", "model_ids": [f"m{turn}{one}"]} for one in range(4)]
            answers = await asyncio.gather(
                *(
                    client.patch(path, json={"model_permissions": order}, headers={"If-Match": tag})
                    for order, client in zip(orders, (plane.client, beside) * 2, strict=True)
                )
            )
            assert sorted(answer.status_code for answer in answers) == [200, 412, 412, 412]
            (made,) = [answer.json() for answer in answers if answer.status_code == 200]
            assert (await plane.client.get(path)).json() == made


async def test_a_change_at_the_database_counts_as_well(plane: ControlPlane) -> None:
    """Guards against a precondition that only the control plane keeps: commands change things, too."""
    async with plane.database.write() as session:
        tenant = await tenancy.create_tenant(session, "Acme", 1)
    path = f"{TENANTS}/{tenant.id}"
    tag = (await plane.client.get(path)).headers["etag"]
    if plane.database.is_sqlite:
        async with plane.database.write() as session:
            await tenancy.set_outage_policy(session, tenant.id, OutagePolicy.FAIL_OPEN, 2)
        answer = await plane.client.post(f"{path}/block", headers={"If-Match": tag})
    else:
        async with plane.database.write() as session:
            await tenancy.set_outage_policy(session, tenant.id, OutagePolicy.FAIL_OPEN, 2)
            blocking = asyncio.create_task(plane.client.post(f"{path}/block", headers={"If-Match": tag}))
            waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
            while not (await session.execute(waiting)).scalar_one():
                await asyncio.sleep(0)
        answer = await blocking
    assert answer.status_code == 412, answer.text
    assert (await plane.client.get(path)).json()["state"] == "active"


async def test_what_is_known_is_not_sent_again(plane: ControlPlane) -> None:
    """Guards against a tag that says nothing, and against a list that passes for a resource."""
    tenant = (await plane.client.post(TENANTS, json={"name": "Acme"})).json()
    path = f"{TENANTS}/{tenant['id']}"
    tag = (await plane.client.get(path)).headers["etag"]
    known = await plane.client.get(path, headers={"If-None-Match": f'"other", W/{tag}'})
    assert (known.status_code, known.content, known.headers["etag"]) == (304, b"", tag)
    assert "x-request-id" in known.headers
    assert (await plane.client.get(path, headers={"If-None-Match": '"other"'})).status_code == 200
    assert (await plane.client.get(path, headers={"If-None-Match": "*"})).status_code == 304
    assert "etag" not in (await plane.client.get(TENANTS)).headers
    assert "etag" not in (await plane.client.get(f"{TENANTS}/org-none")).headers


async def test_traffic_gets_in_nobodys_way(plane: ControlPlane) -> None:
    """Guards against a busy limit or key that nobody can change with If-Match, and against a stale 304."""
    async with plane.database.write() as session:
        tenant = await tenancy.create_tenant(session, "Acme", 1)
        await session.flush()
        project = await tenancy.create_project(session, tenant.id, "P", 1)
        await session.flush()
        key, _ = await tenancy.create_api_key(session, pepper(plane.settings), project.id, "K", 1)
    path = f"/admin/v1/keys/{key.id}"
    tag = (await plane.client.get(path)).headers["etag"]
    async with plane.database.write() as session:
        used = text(f"UPDATE api_key SET last_used_us = {time.time_ns() // 1000}")
        await session.execute(used)
    assert (await plane.client.get(path, headers={"If-None-Match": tag})).status_code == 200
    changed = await plane.client.patch(path, json={"scopes": ["models"]}, headers={"If-Match": tag})
    assert changed.status_code == 200
    late = await plane.client.patch(path, json={"scopes": None}, headers={"If-Match": tag})
    assert late.status_code == 412


async def test_a_key_and_a_tag_together(plane: ControlPlane) -> None:
    """Guards against a retry that is refused since the first one has changed the thing."""
    tenant = (await plane.client.post(TENANTS, json={"name": "Acme"})).json()
    path = f"{TENANTS}/{tenant['id']}"
    tag = (await plane.client.get(path)).headers["etag"]
    for replayed in (None, "true"):
        answer = await plane.client.post(f"{path}/block", headers=keyed("k", **{"If-Match": tag}))
        assert answer.status_code == 200 and answer.headers.get("idempotent-replayed") == replayed
    refused = await plane.client.post(f"{path}/unblock", headers=keyed("l", **{"If-Match": tag}))
    assert refused.status_code == 412
    fits = (await plane.client.get(path)).headers["etag"]
    freed = await plane.client.post(f"{path}/unblock", headers=keyed("l", **{"If-Match": fits}))
    assert freed.status_code == 200  # nothing is kept of what was refused


async def test_the_document_tells_of_it_where_it_is_so(plane: ControlPlane) -> None:
    """Guards against a document that promises a tag for a list, or is silent on a header that works."""
    paths = (await plane.client.get("/openapi.json")).json()["paths"]

    def headers(path: str, method: str) -> set[str]:
        return {one["name"] for one in paths[path][method].get("parameters", ()) if one["in"] == "header"}

    one = f"{TENANTS}/{{tenant_id}}"
    assert headers(one, "get") == {"If-None-Match"} and headers(TENANTS, "get") == set()
    assert headers(one, "patch") == {"If-Match"}
    assert headers(f"{one}/block", "post") == {"If-Match", "Idempotency-Key"}
    assert {"409", "412", "422"} <= set(paths[TENANTS]["post"]["responses"])
    assert "ETag" in paths[one]["get"]["responses"]["200"]["headers"]
    assert "Idempotency-Key" in headers("/v1/organization/projects", "post")
    assert "Idempotency-Key" not in headers("/admin/v1/session", "post")


async def test_roles_hold_with_keys_and_tags(plane: ControlPlane) -> None:
    """Guards against a header that opens a door."""
    async with plane.database.write() as session:
        tenant = await tenancy.create_tenant(session, "Acme", 1)
    secret = await make_key(plane, role=Role.READER, tenant_id=tenant.id)
    mine = {"Authorization": f"Bearer {secret}"}
    path = f"{TENANTS}/{tenant.id}"
    for headers in (keyed("k"), {"If-Match": "*"}):
        answer = await plane.client.post(f"{path}/block", headers={**headers, **mine})
        assert answer.status_code == 403
    assert await count(plane.database, "kept_answer") == 0
