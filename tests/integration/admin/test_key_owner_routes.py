"""Whose keys are, over HTTP: said at their making, changed later, told in OpenAI's shape."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from admin.config import AdminSettings
from ledger import project_memberships
from ledger.actors import PROGRAM
from ledger.project_roles import ProjectRole
from ledger.roles import Role
from tests.integration.admin.serving import Served, serving
from tests.people import MEMORY_MIB, PASSWORD, a_tenant, a_user, hashed

PUBLISHED = json.loads((Path(__file__).parents[2] / "vectors/openai/administration.json").read_text())
ONE_KEY = "GET /organization/projects/{project_id}/api_keys/{api_key_id}"
ANN, BOB = "ann@example.com", "bob@example.com"


@pytest.fixture
async def served(database_url: str, tmp_path: Path) -> AsyncIterator[Served]:
    settings = AdminSettings(database_url=database_url, data_dir=tmp_path, password_memory_mib=MEMORY_MIB)
    async with serving(settings) as running:
        yield running


async def test_a_key_is_given_to_a_user_and_on_to_the_project(served: Served) -> None:
    """Guards against an owner that is said and not kept, a leaver's key that nobody sees or can give to
    somebody else, and an answer that OpenAI's clients cannot read.
    """
    tenant, project = await a_tenant(served.database)
    ann = await a_user(served.database, ANN, (tenant.id, Role.READER))
    async with served.database.write() as session:
        await project_memberships.add(session, project, ann.id, ProjectRole.MEMBER, 1, by=PROGRAM)
    client, keys = served.client, f"/admin/v1/projects/{project.id}/keys"
    client.headers["OpenAI-Organization"] = tenant.id
    made = (await client.post(keys, json={"owner": ann.id})).json()
    anns = {"type": "user", "id": ann.id, "name": "Ann", "email": ANN, "project_access": "active"}
    assert (made["user_id"], made["service_account_id"], made["owner"]) == (ann.id, None, anns)
    plain = (await client.post(keys, json={})).json()
    assert plain["owner"]["type"] == "service_account" and plain["user_id"] is None

    api_keys = f"/v1/organization/projects/{project.id}/api_keys"
    told = (await client.get(f"{api_keys}/{made['id']}")).json()
    schema = {**PUBLISHED["answers"][ONE_KEY], "components": PUBLISHED["components"]}
    assert not list(Draft202012Validator(schema).iter_errors(told))
    assert told["owner"]["user"] == {
        "id": ann.id,
        "email": ANN,
        "name": "Ann",
        "created_at": 0,
        "role": "member",
    }

    async def listed(access: str) -> set[str]:
        found = await client.get(api_keys, params={"owner_project_access": access})
        return {one["id"] for one in found.json()["data"]}

    assert (await listed("active"), await listed("inactive")) == ({made["id"], plain["id"]}, set())
    await client.delete(f"/v1/organization/projects/{project.id}/users/{ann.id}")
    assert (await listed("active"), await listed("inactive")) == ({plain["id"]}, {made["id"]})
    url = f"/admin/v1/keys/{made['id']}"
    shown = await client.get(url)
    assert shown.json()["owner"] == {**anns, "project_access": "inactive"}
    left = (await client.get(f"{api_keys}/{made['id']}")).json()
    assert (left["owner_project_access"], left["owner"]["user"]["role"]) == ("inactive", "none")

    fits = {"If-Match": shown.headers["etag"]}
    given = (await client.patch(url, json={"owner": None}, headers=fits)).json()
    assert given["owner"] == plain["owner"] and given["state"] == "active"
    assert (await client.patch(url, json={"owner": None}, headers=fits)).status_code == 412
    (event, *_) = (
        await client.get("/v1/organization/audit_logs", params={"resource_ids[]": made["id"]})
    ).json()["data"]
    assert event["metergate"]["before"] == {"user_id": ann.id, "service_account_id": None}
    refused = await client.patch(url, json={"owner": ann.id})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "owner")


async def test_a_key_that_a_person_makes_is_theirs_unless_they_say_whose(served: Served) -> None:
    """Guards against a person's keys that nobody tells from a program's, and an owner of another tenant."""
    (tenant, project), (theirs, _) = await a_tenant(served.database), await a_tenant(served.database, "Other")
    ann = await a_user(served.database, ANN, (tenant.id, Role.ADMIN), credential_hash=await hashed(ANN))
    stranger = await a_user(served.database, BOB, (theirs.id, Role.OWNER))
    browser = served.browser()
    await browser.log_in(ANN, PASSWORD)

    async def make(**told: Any) -> Any:
        return (await browser("POST", f"/admin/v1/projects/{project.id}/keys", json=told)).json()

    mine = await make()
    assert mine["user_id"] == ann.id and mine["owner"]["project_access"] == "active"
    projects_own = await make(owner=None)
    assert projects_own["user_id"] is None
    account = await served.client.post(
        f"/v1/organization/projects/{project.id}/service_accounts",
        json={"name": "Job"},
        headers={"OpenAI-Organization": tenant.id},
    )
    jobs = await make(owner=account.json()["id"])
    assert jobs["service_account_id"] == account.json()["id"]
    unseen = await make(owner=stranger.id)
    nobody = await make(owner="user-000000000000000000000000")
    assert unseen["error"]["code"] == "not_found"
    assert unseen["error"]["message"].replace(stranger.id, "X") == nobody["error"]["message"].replace(
        "user-000000000000000000000000", "X"
    )
