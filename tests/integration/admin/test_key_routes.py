"""The routes of API keys: rotation, and all that a key is told."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from admin.config import AdminSettings
from ledger import keys, tenancy
from tests.integration.admin.planes import ServedPlane, served_plane


@pytest.fixture
async def plane(database_url: str, tmp_path: Path) -> AsyncIterator[ServedPlane]:
    async with served_plane(AdminSettings(database_url=database_url, data_dir=tmp_path)) as served:
        yield served


async def test_a_key_is_rotated_with_a_grace(plane: ServedPlane) -> None:
    """Guards against a secret that is shown twice or not at all, and a grace that nobody sees."""
    post, get = plane.client.post, plane.client.get
    project = (await post(f"/admin/v1/tenants/{plane.tenant_id}/projects", json={"name": "Chat"})).json()
    made = (await post(f"/admin/v1/projects/{project['id']}/keys", json={"tags": {"team": "search"}})).json()
    url = f"/admin/v1/keys/{made['id']}"
    assert [one["expires_at"] for one in made["secrets"]] == [None]
    rotated = (await post(f"{url}/rotate")).json()
    assert keys.is_well_formed(rotated["key"].encode()) and rotated["key"] != made["key"]
    newest, former = rotated["secrets"]
    assert (newest["redacted"], former["redacted"]) == (keys.redact(rotated["key"]), made["redacted"])
    day = datetime.fromisoformat(former["expires_at"]) - datetime.fromisoformat(newest["created_at"])
    assert (day, newest["expires_at"], rotated["redacted"]) == (timedelta(hours=24), None, newest["redacted"])
    same = {"key", "redacted", "secrets"}
    assert {n: v for n, v in rotated.items() if n not in same} == {
        n: v for n, v in made.items() if n not in same
    }
    assert (await get(url)).json() == {name: value for name, value in rotated.items() if name != "key"}
    at_once = (await post(f"{url}/rotate", json={"grace": "0"})).json()
    assert len(at_once["secrets"]) == 1 and at_once["redacted"] not in (newest["redacted"], made["redacted"])
    for grace, said in (("91d", "90 days"), ("-1h", "no grace"), ("soon", "no grace")):
        refused = await post(f"{url}/rotate", json={"grace": grace})
        assert refused.status_code == 400 and said in refused.json()["error"]["message"]
    assert (await post("/admin/v1/keys/key_none/rotate")).status_code == 404


async def test_all_that_a_key_is_told_is_changed(plane: ServedPlane) -> None:
    """Guards against an end or tags that stay for ever, and against a name that null takes away."""
    async with plane.database.write() as session:
        project = await tenancy.create_project(session, plane.tenant_id, "p", 1)
    told = {"name": "CI", "expires": "30d", "tags": {"team": "search", "stage": "test"}}
    made = (await plane.client.post(f"/admin/v1/projects/{project.id}/keys", json=told)).json()
    assert made["tags"] == told["tags"]
    url = f"/admin/v1/keys/{made['id']}"
    made.pop("key")
    assert (await plane.client.patch(url, json={"name": None})).json() == made
    changed = (await plane.client.patch(url, json={"name": "CD", "tags": {"a": "b"}})).json()
    assert changed == {**made, "name": "CD", "tags": {"a": "b"}}
    later = (await plane.client.patch(url, json={"expires": "60d"})).json()
    assert later["expires_at"] > changed["expires_at"]
    freed = (await plane.client.patch(url, json={"expires": None, "tags": None})).json()
    assert freed == {**changed, "expires_at": None, "tags": {}}
    for wrong in ({"expires": "2020-01-01"}, {"tags": {"": "x"}}, {"name": ""}, {"owner": "x"}):
        assert (await plane.client.patch(url, json=wrong)).status_code == 400
    assert (await plane.client.get(url)).json() == freed
