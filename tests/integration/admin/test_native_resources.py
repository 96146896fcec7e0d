"""Settings of a tenant, leases in force, engines: on both databases."""

from admin import data_folder
from ledger import admin_keys, leases, limit_settings, tenancy
from ledger.lease_terms import BalanceKey, Wish
from ledger.limit_settings import LimitScope
from ledger.limits import LimitKind, LimitWindow
from ledger.reconciliation import samples
from ledger.reconciliation.arithmetic import Tokens
from ledger.reconciliation.lives import Sample
from ledger.roles import Role
from ledger.settings import pepper
from tests.integration.admin.control_planes import ControlPlane


async def test_an_owner_closes_and_only_the_operator_opens(plane: ControlPlane) -> None:
    """Guards against a tenant that lets itself past its limits."""
    async with plane.database.write() as session:
        tenant = await tenancy.create_tenant(session, "Acme", 1)
        await session.flush()
        _, secret = await admin_keys.create_admin_key(
            session, pepper(plane.settings), "K", 1, role=Role.OWNER, tenant_id=tenant.id
        )
    mine = {"Authorization": f"Bearer {secret}"}
    path = f"/admin/v1/tenants/{tenant.id}/settings"
    patch = plane.client.patch
    assert (await patch(path, json={"outage_policy": "fail_closed"}, headers=mine)).status_code == 200
    refused = await patch(path, json={"name": "B", "outage_policy": "fail_open"}, headers=mine)
    assert refused.status_code == 403 and "tenants.write" in refused.json()["error"]["message"]
    renamed = (await patch(path, json={"name": " Bcme "}, headers=mine)).json()
    assert renamed == {"tenant_id": tenant.id, "name": "Bcme", "outage_policy": "fail_closed"}
    assert (await patch(path, json={"outage_policy": "fail_open"})).json()["outage_policy"] == "fail_open"
    # What is open already is no more open for being said again.
    again = await patch(path, json={"outage_policy": "fail_open", "name": "Ccme"}, headers=mine)
    assert again.status_code == 200
    assert (await plane.client.get(path, headers=mine)).json() == again.json()
    for wrong in ({}, {"name": ""}, {"name": "\n"}, {"outage_policy": "open"}, {"state": "active"}):
        assert (await patch(path, json=wrong, headers=mine)).status_code == 400


async def test_leases_in_force_are_shown_with_their_end(plane: ControlPlane) -> None:
    """Guards against an operator who sees a limit full and not by whom."""
    async with plane.database.write() as session:
        tenant = await tenancy.create_tenant(session, "Acme", 1)
        await session.flush()
        made = [
            await limit_settings.set_limit(session, LimitScope(tenant.id), kind, window, size, 1)
            for kind, window, size in (
                (LimitKind.SPEND, LimitWindow.LIFETIME, 10**13),
                (LimitKind.CONCURRENT, None, 8),
            )
        ]
        connection = await session.connection()
        holder = await leases.register(connection, "gpu-1", 3, 1_700_000_000_000_000)
        wishes = [Wish(BalanceKey(limit.id, "", 0), 4, 4) for limit in made]
        await leases.exchange(connection, holder, wishes, (), 1_700_000_000_000_000, 1)
    page = (await plane.client.get("/admin/v1/reservations")).json()
    assert {one["kind"]: one["held"] for one in page["data"]} == {"spend": "0.000000000004", "concurrent": 4}
    for one in page["data"]:
        assert (one["holder_id"], one["host"], one["worker"]) == (holder, "gpu-1", 3)
        assert one["tenant_id"] == tenant.id and one["expires_at"] > one["last_heard_at"]
    (slots,) = [one for one in page["data"] if one["kind"] == "concurrent"]
    chosen = await plane.client.get("/admin/v1/reservations", params={"limit_id": slots["limit_id"]})
    assert chosen.json()["data"] == [slots]
    first = (await plane.client.get("/admin/v1/reservations", params={"limit": 1})).json()
    rest = {"limit": 1, "after": first["next_after"]}
    second = (await plane.client.get("/admin/v1/reservations", params=rest)).json()
    assert first["data"] + second["data"] == page["data"] and not second["has_more"]


async def test_engines_are_those_of_here_and_those_that_were_asked(plane: ControlPlane) -> None:
    """Guards against an engine of the command line, or of another host, that nobody can see."""
    data_folder.prepare(plane.settings.data_dir)
    data_folder.keep_engines(plane.settings.data_dir, ["http://10.0.0.1:8000"])
    async with plane.database.write() as session:
        await samples.keep(
            session,
            [
                Sample("http://10.0.0.2:8000", model, at_us, at_us, 5_000_000, 0, Tokens(0, 0), in_flight)
                for model, at_us, in_flight in (("m", 1_000_000, 1), ("m", 9_000_000, 2), ("n", 8_000_000, 0))
            ],
        )
    page = (await plane.client.get("/admin/v1/backends")).json()
    here, asked = page["data"]
    assert here == {
        "url": "http://10.0.0.1:8000", "is_served_here": True, "last_answered_at": None, "models": []
    }  # fmt: skip
    assert asked["last_answered_at"] == "1970-01-01T00:00:09Z" and not asked["is_served_here"]
    assert [(one["model"], one["in_flight"]) for one in asked["models"]] == [("m", 2), ("n", 0)]
    first = (await plane.client.get("/admin/v1/backends", params={"limit": 1})).json()
    rest = {"after": first["next_after"]}
    assert (await plane.client.get("/admin/v1/backends", params=rest)).json()["data"] == [asked]
