"""The control plane under a real uvicorn: its resources, who is let in, and how it refuses."""

import re

import httpx
import openai
import pytest

from ledger import admin_keys, keys, tenancy
from ledger.settings import pepper
from tests.integration.admin.control_planes import ControlPlane

PUBLIC = {
    "get": {"/healthz", "/readyz"},
    "post": {"/admin/v1/session", "/admin/v1/invites/accept", "/admin/v1/password-resets/accept"},
}
"""What needs no key: whoever asks brings a password or a token."""


async def test_a_tenant_a_project_and_a_key_from_nothing_to_revoked(plane: ControlPlane) -> None:
    post, get = plane.client.post, plane.client.get
    tenant = (await post("/admin/v1/tenants", json={"name": "Acme"})).json()
    project = (await post(f"/admin/v1/tenants/{tenant['id']}/projects", json={"name": "Chat"})).json()
    made = await post(f"/admin/v1/projects/{project['id']}/keys", json={"name": "CI", "expires": "30d"})
    key = made.json()
    assert made.status_code == 201
    assert keys.is_well_formed(key["key"].encode())
    assert key["tenant_id"] == tenant["id"]
    assert key["expires_at"] > key["created_at"]

    (listed,) = (await get(f"/admin/v1/projects/{project['id']}/keys")).json()["data"]
    assert listed == {name: value for name, value in key.items() if name != "key"}
    assert (await post(f"/admin/v1/keys/{key['id']}/block")).json()["state"] == "blocked"
    assert (await post(f"/admin/v1/keys/{key['id']}/unblock")).json()["state"] == "active"
    assert (await post(f"/admin/v1/keys/{key['id']}/revoke")).json()["state"] == "revoked"
    again = await post(f"/admin/v1/keys/{key['id']}/unblock")
    assert again.status_code == 400
    assert "stays revoked" in again.json()["error"]["message"]

    assert (await post(f"/admin/v1/tenants/{tenant['id']}/block")).json()["state"] == "blocked"
    assert (await post(f"/admin/v1/tenants/{tenant['id']}/unblock")).json()["state"] == "active"
    assert (await post(f"/admin/v1/projects/{project['id']}/archive")).json()["state"] == "archived"


async def test_a_tenants_outage_policy_is_set_and_changed(plane: ControlPlane) -> None:
    """Guards against a PATCH that changes what it does not name."""
    post, patch = plane.client.post, plane.client.patch
    assert (await post("/admin/v1/tenants", json={"name": "A"})).json()["outage_policy"] == "fail_closed"
    order = {"name": "B", "outage_policy": "fail_open"}
    tenant = (await post("/admin/v1/tenants", json=order)).json()
    assert tenant["outage_policy"] == "fail_open"
    path = f"/admin/v1/tenants/{tenant['id']}"
    assert (await patch(path, json={})).json() == tenant
    closed = (await patch(path, json={"outage_policy": "fail_closed"})).json()
    assert closed == {**tenant, "outage_policy": "fail_closed"}
    assert (await patch(path, json={"outage_policy": "open"})).status_code == 400
    assert (await patch("/admin/v1/tenants/org-none", json={"outage_policy": "fail_open"})).status_code == 404


async def test_a_key_is_restricted_and_set_free_again(plane: ControlPlane) -> None:
    """Guards against a PATCH that takes away what it did not name."""
    post, patch = plane.client.post, plane.client.patch
    tenant = (await post("/admin/v1/tenants", json={"name": "Acme"})).json()
    models = {"mode": "allow_list", "model_ids": ["gpt-*"]}
    order = {"name": "Chat", "model_permissions": models}
    project = (await post(f"/admin/v1/tenants/{tenant['id']}/projects", json=order)).json()
    assert project["model_permissions"] == models
    told = {"model_permissions": {"mode": "deny_list", "model_ids": ["*-large"]},
            "scopes": ["models", "embeddings"], "cidrs": ["192.0.2.1"]}  # fmt: skip
    made = (await post(f"/admin/v1/projects/{project['id']}/keys", json=told)).json()
    shown = {**told, "scopes": ["embeddings", "models"], "cidrs": ["192.0.2.1/32"]}
    assert {name: made[name] for name in told} == shown
    url = f"/admin/v1/keys/{made['id']}"
    changed = (await patch(url, json={"scopes": ["models"]})).json()
    assert {name: changed[name] for name in told} == {**shown, "scopes": ["models"]}
    assert (await patch(url, json={})).json() == changed
    freed = (await patch(url, json=dict.fromkeys(told))).json()
    assert {name: freed[name] for name in told} == dict.fromkeys(told)
    assert (await plane.client.get(url)).json() == freed
    project_url = f"/admin/v1/projects/{project['id']}"
    assert (await patch(project_url, json={})).json()["model_permissions"] == models
    assert (await patch(project_url, json={"model_permissions": None})).json()["model_permissions"] is None
    assert (await patch("/admin/v1/keys/key_none", json={})).status_code == 404


@pytest.mark.parametrize(
    ("told", "code", "said"),
    [
        ({"cidrs": ["10.0.0.1/8"]}, "refused", "write 10.0.0.0/8"),
        ({"cidrs": ["10.0.0.1"] * 101}, "invalid_value", "cidrs"),
        ({"scopes": ["everything"]}, "invalid_value", "'chat.completions'"),
        ({"model_permissions": {"mode": "allow_list", "model_ids": [""]}}, "refused", "1 to 256"),
        ({"model_permissions": {"mode": "some", "model_ids": []}}, "invalid_value", "'deny_list'"),
        ({"model_permissions": {"mode": "allow_list"}}, "invalid_value", "model_ids"),
        ({"model_permission": None}, "invalid_value", "model_permission"),
    ],
)
async def test_a_restriction_that_cannot_be_is_refused(
    plane: ControlPlane, told: dict[str, object], code: str, said: str
) -> None:
    """Guards against a mistyped restriction that silently is none."""
    async with plane.database.write() as session:
        tenant = await tenancy.create_tenant(session, "Acme", 1)
        project = await tenancy.create_project(session, tenant.id, "p", 1)
    answer = await plane.client.post(f"/admin/v1/projects/{project.id}/keys", json=told)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, code)
    assert said in answer.json()["error"]["message"]
    assert (await plane.client.get(f"/admin/v1/projects/{project.id}/keys")).json()["data"] == []


async def test_a_price_is_written_in_decimals_and_comes_back_the_same(plane: ControlPlane) -> None:
    order = {"model": "m", "input": "0.15", "output": "0.6", "effective_from": "2030-01-01T00:00:00Z"}
    made = (await plane.client.post("/admin/v1/prices", json=order)).json()
    assert (made["input"], made["cached_input"], made["output"]) == ("0.15", "0.15", "0.60")
    assert made["effective_from"] == "2030-01-01T00:00:00Z"
    assert (await plane.client.get("/admin/v1/prices", params={"model": "m"})).json()["data"] == [made]
    bad = await plane.client.post("/admin/v1/prices", json=order | {"input": "0.1234567"})
    assert bad.status_code == 400


async def test_a_limit_is_set_changed_shown_and_removed(plane: ControlPlane) -> None:
    post, get = plane.client.post, plane.client.get
    tenant = (await post("/admin/v1/tenants", json={"name": "Acme"})).json()
    order = {"tenant_id": tenant["id"], "kind": "spend", "max": "1.5"}
    made = await post("/admin/v1/limits", json=order)
    limit = made.json()
    assert made.status_code == 200, made.text
    assert (limit["max"], limit["window"], limit["currency"]) == ("1.50", "month", "USD")
    again = (await post("/admin/v1/limits", json=order | {"max": 2, "soft": True})).json()
    assert again == {**limit, "max": "2.00", "soft": True}
    assert (await get("/admin/v1/limits", params={"tenant_id": tenant["id"]})).json()["data"] == [again]
    assert (await get("/admin/v1/limits", params={"api_key_id": "key_none"})).json()["data"] == []
    shown = (await get(f"/admin/v1/limits/{limit['id']}")).json()
    (standing,) = shown.pop("standings")
    assert shown == again
    assert (standing["used"], standing["leased"], standing["remaining"]) == ("0.00", "0.00", "2.00")
    removed = await plane.client.delete(f"/admin/v1/limits/{limit['id']}")
    assert (removed.status_code, removed.json()) == (200, again)
    assert (await get(f"/admin/v1/limits/{limit['id']}")).json()["error"]["code"] == "not_found"
    assert (await plane.client.delete(f"/admin/v1/limits/{limit['id']}")).status_code == 404


@pytest.mark.parametrize(
    ("order", "status", "said"),
    [
        ({"kind": "spend", "max": "1"}, 400, "one of tenant_id, project_id and api_key_id"),
        ({"tenant_id": "a", "api_key_id": "b", "kind": "spend", "max": "1"}, 400, "one of tenant_id"),
        ({"tenant_id": "org-none", "kind": "spend", "max": "1"}, 404, "no tenant with the id 'org-none'"),
        ({"tenant_id": "a", "kind": "spend", "max": 1.5}, 400, "max: Value error, write a string such as"),
        ({"tenant_id": "a", "kind": "spend", "max": True}, 400, "write a string such as"),
        ({"tenant_id": "a", "kind": "spend", "max": "-1"}, 400, "negative"),
        ({"tenant_id": "a", "kind": "requests", "max": 0}, 400, "at least 1"),
        ({"tenant_id": "a", "kind": "requests", "max": -7}, 400, "negative"),
        ({"tenant_id": "a", "kind": "spend", "max": "1", "window": "minute"}, 400, "day, month, lifetime"),
        ({"tenant_id": "a", "kind": "tokens", "max": "many"}, 400, "not a number of tokens"),
        ({"tenant_id": "a", "kind": "bytes", "max": "1"}, 400, "kind"),
        ({"tenant_id": "a", "kind": "spend", "max": "1", "model": ""}, 400, "model"),
        ({"tenant_id": "a", "kind": "spend", "max": "1", "end_user": "u", "each_user": True}, 400, "both"),
        ({"tenant_id": "a", "kind": "spend"}, 400, "max"),
    ],
)
async def test_a_limit_that_does_not_go_together_is_refused(
    plane: ControlPlane, order: dict[str, object], status: int, said: str
) -> None:
    """Guards against a limit that holds less than its order reads, and a float's idea of a budget."""
    refused = await plane.client.post("/admin/v1/limits", json=order)
    assert refused.status_code == status
    assert said in refused.json()["error"]["message"]
    assert (await plane.client.get("/admin/v1/limits")).json()["data"] == []


async def test_usage_of_a_month_without_calls_is_zero(plane: ControlPlane) -> None:
    usage = (
        await plane.client.get("/admin/v1/usage", params={"month": "2026-11", "group_by": "model"})
    ).json()
    assert (usage["from"], usage["until"]) == ("2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z")
    assert (usage["calls"], usage["totals"]) == (0, [])


async def test_openais_own_client_walks_the_projects(plane: ControlPlane) -> None:
    """The official SDK's typed client, with only the base URL changed."""
    async with plane.database.write() as session:
        tenant = await tenancy.create_tenant(session, "Acme", 1)
        other = await tenancy.create_tenant(session, "Other", 2)
    key = plane.client.headers["Authorization"].removeprefix("Bearer ")
    async with openai.AsyncOpenAI(
        admin_api_key=key, api_key="unused", organization=tenant.id, base_url=f"{plane.client.base_url}/v1"
    ) as client:
        projects = client.admin.organization.projects
        made = [await projects.create(name=f"Project {number}") for number in range(5)]
        assert {project.object for project in made} == {"organization.project"}
        await projects.archive(made[0].id)
        walked = [project.id async for project in projects.list(limit=2)]
        assert walked == [project.id for project in made[1:]]
        with_archived = [project.status async for project in projects.list(include_archived=True)]
        assert with_archived == ["archived", "active", "active", "active", "active"]
        assert (await projects.retrieve(made[1].id)).name == "Project 1"
        with pytest.raises(openai.NotFoundError):
            await client.with_options(organization=other.id).admin.organization.projects.retrieve(made[1].id)
        with pytest.raises(openai.BadRequestError, match="OpenAI-Organization"):
            await client.with_options(organization="").admin.organization.projects.list(
                extra_headers={"OpenAI-Organization": openai.Omit()}
            )


async def refusals(plane: ControlPlane) -> list[tuple[str, httpx.Response]]:
    """One request of each kind that is refused."""
    client = plane.client
    return [
        ("404 not_found", await client.get("/admin/v1/tenants/org-none")),
        ("404 unknown_url", await client.get("/admin/v1/nothing")),
        ("405 method_not_supported", await client.delete("/admin/v1/tenants")),
        ("400 invalid_value", await client.post("/admin/v1/tenants", json={"name": ""})),
        ("400 invalid_value", await client.post("/admin/v1/tenants", json={"name": "x", "more": 1})),
        ("400 invalid_value", await client.post("/admin/v1/tenants", content=b"{not json")),
        ("400 refused", await client.get("/admin/v1/usage", params={"month": "yesterday"})),
        ("413 body_too_large", await client.post("/admin/v1/tenants", content=b"x" * (2 << 20))),
        ("401 invalid_api_key", await client.get("/admin/v1/tenants", headers={"Authorization": "Bearer x"})),
    ]


async def test_every_refusal_has_openais_shape_and_a_request_id(plane: ControlPlane) -> None:
    """Guards against one route's error coming out in FastAPI's own shape, which no OpenAI client reads."""
    for expected, response in await refusals(plane):
        error = response.json()["error"]
        assert f"{response.status_code} {error['code']}" == expected
        assert error.keys() == {"message", "type", "param", "code"}
        assert error["type"] == "invalid_request_error"
        assert response.headers["x-request-id"].startswith("req_")


async def test_what_no_database_takes_as_text_is_refused(plane: ControlPlane) -> None:
    """Guards against a mistyped id that reads as an outage (of PostgreSQL, by a NUL) or as a fault."""
    asked = [
        ("GET", "/admin/v1/tenants/%00", ""), ("GET", "/admin/v1/usage?model=a%00b", ""),
        ("POST", "/admin/v1/tenants/%00/projects", '{"name": "x"}'),
        *(("POST", "/admin/v1/limits", '{"tenant_id": "' + text + '", "kind": "spend", "max": "1"}')
          for text in ("\\u0000", "a\\ud800", "\\\\\\u0000")),
    ]  # fmt: skip
    headers = {"Content-Type": "application/json"}
    for method, path, body in asked:
        answer = await plane.client.request(method, path, content=body, headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_value"), (path, body)
    for text in ("\\\\u0000", "\\ud83d\\ude00"):  # a backslash and five letters; a whole pair
        body = '{"tenant_id": "' + text + '", "kind": "spend", "max": "1"}'
        answer = await plane.client.post("/admin/v1/limits", content=body, headers=headers)
        assert answer.status_code == 404, (text, answer.text)


async def test_only_a_working_admin_key_is_let_in(plane: ControlPlane) -> None:
    url = "/admin/v1/tenants"
    async with plane.database.write() as session:
        revoked, secret = await admin_keys.create_admin_key(session, pepper(plane.settings), "Old", 1)
        await session.flush()
        await admin_keys.revoke_admin_key(session, revoked.id, 2)
    tries = {
        "revoked": secret,
        "minted elsewhere": keys.mint(keys.ADMIN_PREFIX),
        "mistyped": keys.mint(keys.ADMIN_PREFIX)[:-1] + "!",
        "of the data plane": keys.mint(keys.API_PREFIX),
    }
    for what, key in tries.items():
        response = await plane.client.get(url, headers={"Authorization": f"Bearer {key}"})
        assert response.status_code == 401, what
        assert key not in response.text
        assert response.headers["www-authenticate"] == "Bearer"
    del plane.client.headers["Authorization"]
    assert "didn't provide" in (await plane.client.get(url)).json()["error"]["message"]


async def test_every_native_route_asks_for_the_key(plane: ControlPlane) -> None:
    """Guards against a router that was added without its dependency: the list comes from the document."""
    document = (await plane.client.get("/openapi.json")).json()
    del plane.client.headers["Authorization"]
    asked = 0
    for path, operations in document["paths"].items():
        for method in operations:
            if path not in PUBLIC.get(method, set()):
                response = await plane.client.request(method, path, json={})
                assert response.status_code == 401, (method, path)
                asked += 1
    assert asked >= 20


async def test_the_docs_need_no_other_host(plane: ControlPlane) -> None:
    """Guards against a page that is empty, or tells others of itself, where there is no internet."""
    document = (await plane.client.get("/openapi.json")).json()
    assert document["openapi"].startswith("3.0")  # what the Swagger UI that ships as a wheel reads
    page = (await plane.client.get("/docs")).text
    assert "https://" not in page and '"validatorUrl": null' in page  # without: a badge of another host's
    assert all(one.startswith("/docs/assets/") for one in re.findall(r'(?:src|href)="([^"]*)"', page))
    for asset in ("swagger-ui-bundle.js", "swagger-ui.css", "favicon-32x32.png"):
        assert f"/docs/assets/{asset}" in page
        assert (await plane.client.get(f"/docs/assets/{asset}")).status_code == 200


async def test_readyz_says_whether_the_ledger_answers(plane: ControlPlane) -> None:
    assert (await plane.client.get("/healthz")).json() == {"status": "ok"}
    assert (await plane.client.get("/readyz")).status_code == 200
    await plane.database.downgrade("base")
    assert (await plane.client.get("/readyz")).status_code == 503
    assert (await plane.client.get("/healthz")).status_code == 200
