"""/admin/v1/audit_events: who reads what of the log as it is kept, on both databases."""

from typing import Any

import httpx

from admin.audit_schemas import AuditView
from ledger import admin_keys, audit_pages, tenancy
from ledger.audit_pages import AuditFilter
from ledger.roles import Role
from ledger.settings import pepper
from tests.integration.admin.control_planes import ControlPlane

PATH = "/admin/v1/audit_events"


async def walk(client: httpx.AsyncClient, size: int = 3, **wanted: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    after: dict[str, str] = {}
    while True:
        answer = await client.get(PATH, params={"limit": size, **wanted, **after})
        assert answer.status_code == 200, answer.text
        page = answer.json()
        found += page["data"]
        if not page["has_more"]:
            return found
        assert len(page["data"]) == size
        after = {"after": page["next_after"]}


async def test_the_operator_reads_all_of_the_log_and_a_tenant_its_own(plane: ControlPlane) -> None:
    """Guards against events that only the database shows, against a page's edge that hides one, and against a
    tenant that reads the operator's own or another's.
    """
    async with plane.database.write() as session:
        ours, theirs = [await tenancy.create_tenant(session, name, 10) for name in ("Ours", "Theirs")]
        project = await tenancy.create_project(session, ours.id, "P", 20)
        secret = pepper(plane.settings)
        key, mine = await admin_keys.create_admin_key(
            session, secret, "K", 30, role=Role.OWNER, tenant_id=ours.id
        )
        await tenancy.create_api_key(session, secret, project.id, "K", 40)
    price = {"model": "m", "input": "1", "output": "1"}
    assert (await plane.client.post("/admin/v1/prices", json=price)).status_code == 201
    async with plane.database.read() as session:
        kept = (await audit_pages.page(session, AuditFilter(), 100)).events
    whole = [AuditView.of(row).model_dump(mode="json") for row in kept]
    assert len(whole) > 6 and await walk(plane.client) == whole
    own = [one for one in whole if one["tenant_id"] is None]
    assert await walk(plane.client, of_no_tenant=True) == own
    assert {"price.created", "tenant.admin_api_key.created"} <= {one["event"] for one in own}

    of_ours = [one for one in whole if one["tenant_id"] == ours.id]
    for wanted, found in [
        ({"tenant_id": ours.id}, of_ours),
        ({"project_id": project.id}, [one for one in whole if one["project_id"] == project.id]),
        ({"event": ["project.created", "api_key.created"]}, [of_ours[0], of_ours[2]]),
        (
            {"actor_id": "metergate", "tenant_id": theirs.id},
            [one for one in whole if one["subject_id"] == theirs.id],
        ),
        ({"subject_id": key.id}, [of_ours[1]]),
        ({"until": "1970-01-01"}, []),
        ({"since": "1h"}, [one for one in whole if one["at"] > "1971"]),
        ({"since": "1970-01-01T00:00:00.000020Z", "until": "1970-01-01T00:00:00.000040Z"}, of_ours[1:3]),
    ]:
        assert await walk(plane.client, **wanted) == found, wanted
        assert found or "until" in wanted

    tenants = {"Authorization": f"Bearer {mine}"}
    async with httpx.AsyncClient(base_url=plane.client.base_url, headers=tenants) as client:
        assert [one["id"] for one in await walk(client)] == [one["id"] for one in of_ours]
        assert await walk(client, of_no_tenant=True) == []
        for wrong in (theirs.id, "org-none"):
            assert (await client.get(PATH, params={"tenant_id": wrong})).status_code == 404
    for wrong in ({"after": "x"}, {"since": "soon"}, {"until": "24h"}, {"limit": "1001"}):
        assert (await plane.client.get(PATH, params=wrong)).status_code == 400, wrong
