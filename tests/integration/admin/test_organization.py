"""OpenAI's Administration API: the official SDK in both major versions, pages, and what is refused."""

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from jsonschema import Draft202012Validator

from admin.config import AdminSettings
from ledger import tenancy
from ledger.ids import new_id
from ledger.places import Cut
from ledger.setting import Secret
from ledger.states import ServiceAccountRole
from ledger.tables.service_accounts import ServiceAccount
from proxy.simulator import SimulatorConfig
from tests.acceptance.running import clean_environment
from tests.engines import engine_thread
from tests.environments import cached
from tests.integration.admin import organization_tour
from tests.integration.admin.planes import ServedPlane, served_plane
from tests.rows import put

PUBLISHED = json.loads((Path(__file__).parents[2] / "vectors/openai/administration.json").read_text())
NEXT_VERSION = "3.54.0"
SMTP: dict[str, Any] = {"smtp_url": Secret("smtp://127.0.0.1:1"), "smtp_from": "alerts@example.com"}


@pytest.fixture(scope="module")
def engine_url() -> Iterator[str]:
    with engine_thread(SimulatorConfig(models=(organization_tour.MODEL,))) as engine:
        yield engine.url


@pytest.fixture
async def plane(database_url: str, tmp_path: Path, engine_url: str) -> AsyncIterator[ServedPlane]:
    settings = AdminSettings(database_url=database_url, data_dir=tmp_path, engines=(engine_url,), **SMTP)
    async with served_plane(settings) as served:
        yield served


@pytest.fixture
async def sqlite_plane(sqlite_url: str, tmp_path: Path, engine_url: str) -> AsyncIterator[ServedPlane]:
    settings = AdminSettings(database_url=sqlite_url, data_dir=tmp_path, engines=(engine_url,), **SMTP)
    async with served_plane(settings) as served:
        yield served


def hold_to_published(seen: list[tuple[str, dict[str, Any]]]) -> None:
    """Every operation that OpenAI's document has here was walked, and every answer is as it says."""
    assert {operation for operation, _ in seen} == set(PUBLISHED["answers"])
    for operation, answer in seen:
        schema = {**PUBLISHED["answers"][operation], "components": PUBLISHED["components"]}
        faults = [fault.message for fault in Draft202012Validator(schema).iter_errors(answer)]
        assert not faults, (operation, answer, faults)


async def test_the_official_client_walks_every_resource(plane: ServedPlane) -> None:
    """Guards against any answer that is not what OpenAI's document says, and a resource that is missing."""
    seen = await asyncio.to_thread(organization_tour.walk, plane.base_url, plane.owner_key, plane.tenant_id)
    hold_to_published(seen)


async def test_the_clients_next_major_version_walks_it_too(sqlite_plane: ServedPlane) -> None:
    """Guards against a path or a member that the two versions read otherwise."""
    plane = sqlite_plane
    environment = cached(f"openai-{NEXT_VERSION}", lambda made: made.install(f"openai=={NEXT_VERSION}"))
    done = await asyncio.to_thread(
        subprocess.run,
        [environment.python, organization_tour.__file__, plane.base_url, plane.owner_key, plane.tenant_id],
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    came_home = json.loads(done.stdout)
    assert came_home["version"] == NEXT_VERSION
    hold_to_published([(operation, answer) for operation, answer in came_home["seen"]])


def client_of(plane: ServedPlane, key: str | None = None) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(
        base_url=plane.base_url,
        admin_api_key=key or plane.operator_key,
        api_key="unused",
        organization=plane.tenant_id,
        max_retries=0,
    )


async def test_a_thousand_accounts_are_walked_to_the_end_and_deleted_on_the_way(plane: ServedPlane) -> None:
    """Guards against a page that skips or repeats: half are made at one instant, and some go while the
    list is read.
    """
    async with plane.database.write() as session:
        project = await tenancy.create_project(session, plane.tenant_id, "p", 1)
        await session.flush()
        accounts_made = [
            ServiceAccount(
                id=new_id("svc_acct_"),
                tenant_id=plane.tenant_id,
                project_id=project.id,
                name=f"a{number}",
                role=ServiceAccountRole.NONE,
                created_us=max(500, number),
            )
            for number in range(1000)
        ]
        await put(session, accounts_made)
    async with client_of(plane) as client:
        accounts = client.admin.organization.projects.service_accounts
        names: list[str] = []
        async for account in accounts.list(project.id, limit=100):
            if len(names) % 50 == 49:
                await accounts.delete(account.id, project_id=project.id)
            names.append(account.name)
        assert sorted(names) == sorted(f"a{number}" for number in range(1000))
        assert names[501:] == [f"a{number}" for number in range(501, 1000)]
        assert len([account async for account in accounts.list(project.id, limit=100)]) == 980


async def test_a_page_ends_where_it_says(plane: ServedPlane) -> None:
    """Guards against an off-by-one in has_more, and a `before` that turns the order round."""
    path = "/v1/organization/spend_alerts"
    order = {"threshold_amount": 1, "currency": "USD", "interval": "month",
             "notification_channel": {"type": "email", "recipients": ["a@example.com"]}}  # fmt: skip
    ids = [(await plane.client.post(path, json=order)).json()["id"] for _ in range(5)]

    async def page(**query: Any) -> tuple[list[str], bool]:
        answer = (await plane.client.get(path, params=query)).json()
        found = [one["id"] for one in answer["data"]]
        assert (answer["first_id"], answer["last_id"]) == ((found[0], found[-1]) if found else (None, None))
        return found, answer["has_more"]

    assert await page() == (ids, False)
    assert await page(limit=5) == (ids, False)
    assert await page(limit=4) == (ids[:4], True)
    assert await page(limit=2, after=ids[0]) == (ids[1:3], True)
    assert await page(limit=2, after=ids[2]) == (ids[3:], False)
    assert await page(after=ids[4]) == ([], False)
    assert await page(limit=2, before=ids[4]) == (ids[2:4], True)
    assert await page(limit=2, before=ids[2]) == (ids[:2], False)
    assert await page(after=ids[0], before=ids[4]) == (ids[1:4], False)
    assert await page(limit=1, after=ids[0], before=ids[4]) == (ids[1:2], True)
    assert await page(order="desc", limit=2) == (ids[:2:-1], True)
    assert await page(order="desc", after=ids[1]) == (ids[:1], False)
    assert await page(order="desc", limit=1, before=ids[1]) == (ids[2:3], True)
    assert await page(limit=0) == ([], True)


async def new_project(plane: ServedPlane) -> str:
    made = await plane.client.post("/v1/organization/projects", json={"name": "p"})
    return str(made.json()["id"])


ALERT = {"threshold_amount": 1, "currency": "USD", "interval": "month",
         "notification_channel": {"type": "email", "recipients": ["a@example.com"]}}  # fmt: skip
LIMIT = {"threshold_amount": 1, "currency": "USD", "interval": "month"}
REFUSED: list[tuple[str, str, Any, str]] = [
    ("GET", "projects?limit=0", None, "limit"),
    ("GET", "projects?limit=101", None, "limit"),
    ("GET", "projects?limt=5", None, "limt"),
    ("GET", "projects?after=proj_none", None, "after"),
    ("GET", "projects?include_archived=perhaps", None, "include_archived"),
    ("GET", "admin_api_keys?order=up", None, "order"),
    ("GET", "spend_alerts?before=alert_none", None, "before"),
    ("GET", "projects/{}/rate_limits?after=llama", None, "after"),
    ("GET", "projects/{}/rate_limits?limit=101", None, "limit"),
    ("GET", "projects/{}/api_keys?owner_project_access=some", None, "owner_project_access"),
    ("POST", "projects", {"name": " "}, "name"),
    ("POST", "projects", {"name": 5}, "name"),
    ("POST", "projects", {"name": "p", "residency": {"region": "eu"}}, "residency"),
    ("POST", "projects", {"name": "p", "external_key_id": "k"}, "external_key_id"),
    ("POST", "projects", {"name": "p", "geography": "EU"}, "geography"),
    ("POST", "admin_api_keys", {"name": "k", "expires_in_seconds": 0}, "expires_in_seconds"),
    ("POST", "admin_api_keys", {"name": "k", "expires_in_seconds": 31_536_001}, "expires_in_seconds"),
    ("POST", "admin_api_keys", {"name": "k", "expires_in_seconds": "60"}, "expires_in_seconds"),
    ("POST", "admin_api_keys", {}, "name"),
    ("POST", "projects/{}/service_accounts", {"name": "a", "role": "owner"}, "role"),
    ("POST", "projects/{}/rate_limits/rl_x", {"max_images_per_1_minute": 5}, "max_images_per_1_minute"),
    ("POST", "projects/{}/rate_limits/rl_x", {"batch_1_day_max_input_tokens": 5},
     "batch_1_day_max_input_tokens"),
    ("POST", "projects/{}/rate_limits/rl_x", {"max_requests_per_1_minute": 0}, "max_requests_per_1_minute"),
    ("POST", "projects/{}/model_permissions", {"mode": "some", "model_ids": []}, "mode"),
    ("POST", "projects/{}/model_permissions", {"mode": "deny_list"}, "model_ids"),
    ("POST", "spend_limit", {**LIMIT, "threshold_amount": 0}, "threshold_amount"),
    ("POST", "spend_limit", {**LIMIT, "threshold_amount": 1.5}, "threshold_amount"),
    ("POST", "spend_limit", {**LIMIT, "threshold_amount": 9 * 10**8 + 1}, "threshold_amount"),
    ("POST", "spend_limit", {**LIMIT, "currency": "EUR"}, "currency"),
    ("POST", "spend_limit", {**LIMIT, "interval": "day"}, "interval"),
    ("POST", "spend_alerts", {**ALERT, "threshold_amount": -1}, "threshold_amount"),
    ("POST", "spend_alerts", {**ALERT, "notification_channel": {"type": "sms", "recipients": []}},
     "notification_channel.type"),
    ("POST", "spend_alerts", {**ALERT, "notification_channel": {"type": "email", "recipients": []}},
     "notification_channel.recipients"),
    ("POST", "spend_alerts",
     {**ALERT, "notification_channel": {"type": "email", "recipients": ["a@b\r\nBcc: c@d"]}},
     "notification_channel.recipients"),
    ("POST", "spend_alerts",
     {**ALERT, "notification_channel": {"type": "email", "recipients": [], "webhook_url": "http://a.example"}},
     "notification_channel.webhook_url"),
    ("POST", "spend_alerts",
     {**ALERT, "notification_channel": {"type": "email", "recipients": [], "webhook_url": "https://[::1]/"}},
     "notification_channel.webhook_url"),
]  # fmt: skip


async def test_every_wrong_parameter_is_refused_by_its_name(sqlite_plane: ServedPlane) -> None:
    """Guards against a field that is ignored: who sends it believes that it holds."""
    project = await new_project(sqlite_plane)
    for method, path, body, param in REFUSED:
        url = f"/v1/organization/{path.format(project)}"
        answer = await sqlite_plane.client.request(method, url, json=body)
        error = answer.json()["error"]
        assert (answer.status_code, error["param"]) == (400, param), (path, body, answer.text)
        assert error.keys() == {"message", "type", "param", "code"}


async def test_what_is_not_there_is_404(sqlite_plane: ServedPlane) -> None:
    """Guards against a row that is deleted and goes on being shown, and one that is another project's."""
    client, mine, other = (
        sqlite_plane.client,
        await new_project(sqlite_plane),
        await new_project(sqlite_plane),
    )
    account = (
        await client.post(f"/v1/organization/projects/{mine}/service_accounts", json={"name": "a"})
    ).json()
    alert = (await client.post(f"/v1/organization/projects/{mine}/spend_alerts", json=ALERT)).json()
    asked = {
        f"service_accounts/{account['id']}": "GET POST DELETE",
        f"api_keys/{account['api_key']['id']}": "GET DELETE",
        f"spend_alerts/{alert['id']}": "GET POST DELETE",
        "rate_limits/rl_unserved": "POST",
        "rate_limits/nonsense": "POST",
        "spend_limit": "GET DELETE",
    }
    for path, methods in asked.items():
        for method in methods.split():
            body = ALERT if "alerts" in path else {}
            answer = await client.request(method, f"/v1/organization/projects/{other}/{path}", json=body)
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found"), (method, path)
    for path in (f"spend_alerts/{alert['id']}", "projects/proj_none", "admin_api_keys/adminkey_none"):
        assert (await client.get(f"/v1/organization/{path}")).status_code == 404, path


async def test_deleting_an_account_ends_its_keys_and_no_others(plane: ServedPlane) -> None:
    """Guards against a program that goes on with the keys of an account that is gone."""
    client, project = plane.client, await new_project(plane)
    path = f"/v1/organization/projects/{project}"
    native = (await client.post(f"/admin/v1/projects/{project}/keys", json={})).json()
    made = (await client.post(f"{path}/service_accounts", json={"name": "a"})).json()
    bare = {"name": "b", "create_service_account_only": True}
    without = (await client.post(f"{path}/service_accounts", json=bare)).json()
    assert (without["role"], without["api_key"]) == ("none", None)
    refused = await client.post(f"{path}/service_accounts/{without['id']}/api_keys", json={})
    assert refused.status_code == 400 and "role" in refused.json()["error"]["message"]
    await client.delete(f"{path}/service_accounts/{made['id']}")
    async with plane.database.read() as session:
        page = await tenancy.page_api_keys(session, Cut(10), project_id=project)
    states = {key.id: str(key.state) for key in page.rows}
    assert states == {native["id"]: "active", made["api_key"]["id"]: "revoked"}
    (listed,) = (await client.get(f"{path}/api_keys")).json()["data"]
    assert listed["id"] == native["id"]
    assert listed["owner"]["service_account"]["name"] == "Keys of the project"


async def test_an_archived_project_takes_nothing_new(sqlite_plane: ServedPlane) -> None:
    """Guards against a way round the end of a project."""
    client, project = sqlite_plane.client, await new_project(sqlite_plane)
    path = f"/v1/organization/projects/{project}"
    await client.post(f"{path}/archive")
    for url, body in {
        path: {"name": "again"},
        f"{path}/service_accounts": {"name": "a"},
        f"{path}/rate_limits/rl_org~2Fmodel-a": {"max_tokens_per_1_minute": 5},
    }.items():
        assert (await client.post(url, json=body)).status_code == 400, url


async def test_rate_limits_are_limits_of_project_and_model(plane: ServedPlane) -> None:
    """Guards against a limit that is shown and not kept, or kept and not shown."""
    client, project = plane.client, await new_project(plane)
    path = f"/v1/organization/projects/{project}/rate_limits"
    for model in ("zeta", "Ä/ü", "alpha"):
        order = {"project_id": project, "model": model, "kind": "tokens", "max": 60, "burst": 20}
        assert (await client.post("/admin/v1/limits", json=order)).status_code == 200
    soft = {"project_id": project, "model": "soft", "kind": "requests", "max": 5, "soft": True}
    await client.post("/admin/v1/limits", json=soft)
    rows = (await client.get(path)).json()["data"]
    assert [row["model"] for row in rows] == ["alpha", "org/model-a", "zeta", "Ä/ü"]
    assert [row["id"] for row in rows][1:4:2] == ["rl_org~2Fmodel-a", "rl_~C3~84~2F~C3~BC"]
    assert rows[0]["max_tokens_per_1_minute"] == 60
    assert rows[0]["max_requests_per_1_minute"] == 2**53 - 1
    for limit, query in {1: {"after": rows[0]["id"]}, 2: {"before": rows[3]["id"], "limit": "2"}}.items():
        page = (await client.get(path, params={"limit": "1", **query})).json()
        assert [row["id"] for row in page["data"]] == [row["id"] for row in rows[1 : 1 + limit]]
        assert page["has_more"]
    changed = await client.post(f"{path}/{rows[3]['id']}", json={"max_tokens_per_1_minute": 10})
    assert changed.json() == {**rows[3], "max_tokens_per_1_minute": 10}
    limits = (await client.get("/admin/v1/limits", params={"project_id": project})).json()["data"]
    assert {(one["model"], one["max"], one["burst"]) for one in limits if one["kind"] == "tokens"} == {
        ("zeta", 60, 20), ("Ä/ü", 10, 10), ("alpha", 60, 20)
    }  # fmt: skip
    await client.post(f"{path}/{rows[0]['id']}", json={"max_tokens_per_1_minute": 2**53 - 1})
    rows = (await client.get(path)).json()["data"]
    assert [row["model"] for row in rows] == ["org/model-a", "zeta", "Ä/ü"]


async def test_the_operators_limit_on_a_tenant_is_not_the_tenants_to_move(plane: ServedPlane) -> None:
    """Guards against a tenant that lifts the bound of its own credit."""
    path = "/v1/organization/spend_limit"
    bound = {"tenant_id": plane.tenant_id, "kind": "spend", "max": "5.00"}
    set_by_operator = (await plane.client.post("/admin/v1/limits", json=bound)).json()
    owner = {"Authorization": f"Bearer {plane.owner_key}"}
    assert (await plane.client.get(path, headers=owner)).status_code == 404
    mine = await plane.client.post(path, json={**LIMIT, "threshold_amount": 10_000}, headers=owner)
    assert mine.json()["threshold_amount"] == 10_000
    assert (await plane.client.delete(path, headers=owner)).status_code == 200
    left = (await plane.client.get("/admin/v1/limits", params={"tenant_id": plane.tenant_id})).json()["data"]
    assert left == [set_by_operator]
    again = (await plane.client.post("/admin/v1/limits", json=bound)).json()
    assert again["id"] == set_by_operator["id"]
